# Looking inside: gradients, deltas, angles, rules of layers, feedback. Part of _core.pyx.
import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free


cdef class _NetworkInspection(_NetworkPrediction):
    """The part of `Network` that shows what a step computes and by which rules."""

    def gradients(self, x, labels, y, weights, feedback=False):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef int64_t i, n = fa_net_n_tensors(self.net)
        cdef double loss = 0
        cdef fa_tensor tensor
        cdef fa_status status
        cdef void **pointers = <void **>calloc(n, sizeof(void *))
        if pointers == NULL:
            raise MemoryError("out of memory for gradients")
        try:
            gradients = {}
            for i in range(n):
                tensor = fa_net_tensor(self.net, i)
                key = tensor.key.decode()
                if not tensor.trainable or tensor.kind not in (FA_WEIGHT, FA_BIAS, FA_FEEDBACK):
                    continue
                if tensor.kind != FA_FEEDBACK:
                    gradients[key] = np.empty_like(self.parameters[key])
                elif feedback:
                    gradients[key] = np.empty_like(self.feedback[key])
                else:
                    continue
                pointers[i] = cnp.PyArray_DATA(gradients[key])
            with nogil:
                status = fa_gradients(&loss, pointers, self.net, &s)
            check_call(status, self.customs)
        finally:
            free(pointers)
        return loss, gradients

    def deltas(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef int64_t b, n = fa_net_n_blocks(self.net)
        cdef fa_status status
        cdef void **pointers = <void **>calloc(n, sizeof(void *))
        if pointers == NULL:
            raise MemoryError("out of memory for deltas")
        try:
            deltas, outputs = [], self._outputs()
            for b in range(n):
                info = block_info(self.net, b)
                shape = (*x.shape[: len(x.shape) - 1], *outputs[info.layer])
                deltas.append(np.empty(shape, self.dtype) if info.needs_delta else None)
                if info.needs_delta:
                    pointers[b] = cnp.PyArray_DATA(deltas[b])
            with nogil:
                status = fa_deltas(pointers, self.net, &s)
            check_call(status, self.customs)
            return deltas
        finally:
            free(pointers)

    def alignment(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef int64_t hidden = fa_net_n_blocks(self.net) - 1
        cdef fa_status status
        cdef fa_angles *angles = <fa_angles *>calloc(hidden + 1, sizeof(fa_angles))
        if angles == NULL:
            raise MemoryError("out of memory for alignment")
        try:
            with nogil:
                status = fa_alignment(angles, self.net, &s)
            check_call(status, self.customs)
            return [
                {
                    "layer": angles[b].layer,
                    "delta_angle": angles[b].delta_angle,
                    "gradient_angle": angles[b].gradient_angle,
                    "weight_angle": angles[b].weight_angle if angles[b].has_weight_angle else None,
                    "norm_ratio": angles[b].norm_ratio,
                }
                for b in range(hidden)
            ]
        finally:
            free(angles)

    @property
    def layers(self):
        cdef fa_layer_info layer
        layer.struct_size = sizeof(layer)
        rows = []
        for b in range(fa_net_n_blocks(self.net)):
            info = block_info(self.net, b)
            check(fa_net_layer(&layer, self.net, info.layer))
            stored = info.feedback[0] != 0
            shape = f"{info.feedback_rows}x{info.feedback_cols}"
            if info.source == b"input":
                shape = f"{self.n_in}x{self.n_out}"
            rank = f" rank {info.feedback_rank}" if info.feedback_rank else ""
            rows.append({
                "index": info.layer,
                "rule": info.rule.decode(),
                "inject": info.inject.decode(),
                "source": info.source.decode(),
                "feedback": f"{info.feedback.decode()} {shape}{rank}" if stored else "",
                "trainable": bool(info.trainable),
                "needed": bool(info.needs_delta),
                "bfloat16": bool(layer.bf16),
            })
        return rows

    cdef list _outputs(self):
        """The shape of each layer's output without the samples."""
        cdef fa_layer_info info
        info.struct_size = sizeof(info)
        rows = []
        for i in range(len(self.description["layers"])):
            check(fa_net_layer(&info, self.net, i))
            rows.append([info.h, info.w, info.c] if info.h else [info.n_out])
        return rows

    def feedback_matrix(self, index):
        cdef int64_t b
        for b in range(fa_net_n_blocks(self.net) - 1):
            if block_info(self.net, b).layer == index:
                return self._feedback_matrix(b)
        raise ValueError(f"index: expected that of a hidden dense layer, got {index}")

    def has_feedback_matrix(self, index):
        return any(block_info(self.net, b).feedback_rows > 0
                   for b in range(fa_net_n_blocks(self.net) - 1)
                   if block_info(self.net, b).layer == index)

    cdef object _feedback_matrix(self, int64_t b):
        cdef fa_block_info info = block_info(self.net, b)
        out = np.empty((info.feedback_rows, info.feedback_cols), self.dtype)
        cdef void *data = cnp.PyArray_DATA(out)
        cdef fa_status status
        with nogil:
            status = fa_feedback_matrix(data, self.net, b)
        check(status)
        return out

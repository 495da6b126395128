"""Helpers of the public modules. Nothing here is part of the interface of fastfa."""

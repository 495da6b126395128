/* The vector table of a Cortex-M4, and what runs before the C library's own start. */
#include <stdint.h>

extern void _start(void);
extern uint32_t stack_top;

static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFU << 20; /* CPACR: allow the floating-point unit */
    _start();
}

static void fault(void)
{
    for (;;) {}
}

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void); /* reset, NMI, faults */
} vectors = {&stack_top, {reset, fault, fault, fault, fault, fault}};

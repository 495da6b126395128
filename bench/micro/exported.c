/* Instructions of an exported network on a Cortex-M4 that QEMU emulates, a nanosecond each: SysTick
 * counts at 25 MHz, so a tick is 40 of them. See exported.py. */
#include NET

#include <stdint.h>
#include <stdio.h>

#define SYSTICK ((volatile uint32_t *)0xE000E010)
enum { TIMES = 20, PER_TICK = 40 };

static float x[INPUTS], out[OUTPUTS];

static void predict(void) { net_predict(x, out); }
#ifdef LEARN
static void learn(void) { out[0] = net_learn_label(x, 1); }
#endif

static void count(const char *name, void (*call)(void))
{
    call();
    SYSTICK[1] = SYSTICK[2] = 0xFFFFFF; /* reload value, and any write clears the counter */
    SYSTICK[0] = 5;                     /* on, by the processor's clock */
    const uint32_t first = SYSTICK[2];
    for (int i = 0; i < TIMES; i++) call();
    const uint32_t last = SYSTICK[2];
    printf("%s %lu\n", name, (unsigned long)((first - last) & 0xFFFFFF) * PER_TICK / TIMES);
}

int main(void)
{
    for (int i = 0; i < INPUTS; i++) x[i] = (float)(i % 17) / 17;
    count("predict", predict);
#ifdef LEARN
    count("learn", learn);
#endif
    return 0;
}

/* Start-up code for a Cortex-M3 or M4 in QEMU, and the check there: answers, stack, instructions for each stage.
 *
 * Text leaves by semihosting. With -icount shift=0 an instruction lasts a nanosecond of the emulated clock, which SysTick
 * counts: a measure of instructions, not of a chip's cycles. */
#include "check.h"
#include "ecg_stream.h"
#include "examples.h"
#include "model.h"

#include <string.h>

extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];
int main(void);
void reset(void);
void fault(void);
void tick(void);

#define CORTEX_M_HANDLERS 16
__attribute__((section(".vectors"), used)) static void *const vectors[CORTEX_M_HANDLERS] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    [11] = (void *)fault, [12] = (void *)fault, [14] = (void *)fault, [15] = (void *)tick,
};

static int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void put(const char *text) { semihost(0x04, text); }

static void leave(int failed)
{
    semihost(0x18, (const void *)(failed ? 0x20023 : 0x20026)); /* run-time error, or application exit */
    for (;;) {
    }
}

static void report_fault(const uint32_t *frame)
{
    put_line("fault at", frame[6]);
    put_line("status", *(volatile uint32_t *)0xe000ed28);
    leave(1);
}

__attribute__((naked)) void fault(void)
{
    __asm__ volatile("mov r0, sp\n b %0" : : "i"(report_fault));
}

/* ---- instructions ---- */

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xe000e010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xe000e014)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xe000e018)
#define SYSTICK_PERIOD 0x1000000

static volatile uint32_t periods;

void tick(void) { periods++; }

static void start_clock(void)
{
    SYSTICK_RELOAD = SYSTICK_PERIOD - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;
    while (SYSTICK_VALUE == 0) { /* until the first tick loads it */
    }
}

static int64_t instructions(void)
{
    uint32_t before, value;
    do {
        before = periods;
        value = SYSTICK_VALUE;
    } while (before != periods);
    return ((int64_t)before * SYSTICK_PERIOD + (SYSTICK_PERIOD - 1 - value)) * 1000 / BOARD_MHZ;
}

static int64_t stage_start, stage_instructions[MODEL_STAGES];

void model_profile(int stage)
{
    const int64_t now = instructions();
    if (stage > 0)
        stage_instructions[stage - 1] += now - stage_start;
    stage_start = now;
}

/* A loop of 1,000,000 turns of two instructions, to see that the clock counts them. */
static int64_t measured_loop(void)
{
    const int64_t start = instructions();
    uint32_t turns = 1000000;
    __asm__ volatile("1: subs %0, %0, #1\n bne 1b" : "+r"(turns));
    return instructions() - start;
}

/* ---- stack ---- */

#define PAINT 0xa5a5a5a5u

static __attribute__((noinline)) void paint_stack(void)
{
    uint32_t *top; /* volatile: a call to memset would paint its own frame */
    __asm__ volatile("mov %0, sp" : "=r"(top));
    for (volatile uint32_t *at = bss_end; at < top; at++)
        *at = PAINT;
}

static int64_t stack_in_use(void)
{
    const uint32_t *at = bss_end;
    while (at < stack_top && *at == PAINT)
        at++;
    return (stack_top - at) * (int64_t)sizeof *at;
}

int main(void)
{
    put_line("instructions of a loop of 2,000,000", measured_loop());
    int16_t logits[MODEL_CLASSES];
    memcpy(model_input(), example_signals[0], sizeof example_signals[0]);
    memset(stage_instructions, 0, sizeof stage_instructions);
    paint_stack();
    const int64_t start = instructions();
    model_run(model_input(), MODEL_WINDOW, example_demographics[0], logits);
    put_line("instructions a window", instructions() - start);
    put_line("bytes of stack", stack_in_use());
    put_line("bytes of arena", MODEL_ARENA_BYTES);
    put_line("bytes of an ecg_stream", sizeof(ecg_stream));
    put_line("bytes of RAM in all", (bss_end - data_start) * (int64_t)sizeof *bss_end + stack_in_use());
    for (int stage = 0; stage < MODEL_STAGES; stage++)
        if (stage_instructions[stage] > 10000) {
            put("  ");
            put_line(model_stage_names[stage], stage_instructions[stage]);
        }
    leave(check_examples());
}

void reset(void)
{
    memcpy(data_start, data_load, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    start_clock();
    main();
}

/* The arithmetic of an integer network, one function for each kind of layer. model.c calls them with its constants.
 *
 * A tensor over time is rows of channels, one row after another: 8 bits a value, signed or not, but 16 for the signal.
 * Values stand for themselves times a scale, without an offset. Sums of products are exact in 32 bits, or 64 where layers
 * are dense. Then
 *
 *     y = clip((sum * multiplier + residual * residual_multiplier + offset) >> shift, low, high)
 *
 * in 64 bits. lrhnet_jax/deploy/int8/program.py computes the same in NumPy, bit for bit.
 *
 * C99, and what it leaves open but every compiler for microcontrollers does: >> of negative numbers keeps the sign. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef char shifts_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];

enum value_kind { UINT8, INT8, INT16 };

#if defined(__GNUC__)
#define OWN_CODE static __attribute__((noinline, unused)) /* once, not in every stage that calls it */
#define EACH_CALL static inline __attribute__((always_inline)) /* anew for each layer: its constants are known */
#else
#define OWN_CODE static
#define EACH_CALL static inline
#endif

/* Weights of four outputs lie together, four of each at a time: [outputs / 4][inputs / 4][4][4], where outputs and inputs
 * (of all taps) are rounded up, and what is added is zero.
 *
 * Sums of four outputs over `count` inputs. */
typedef void dot4_function(const void *x, const int8_t *weights, int32_t count, int32_t sums[4]);

/* Convolution, dense layer, or one number a channel ("pointwise"). What every channel shares is a number, what differs is
 * an array, and the pointer to an array that is not needed is NULL. */
typedef struct {
    dot4_function *dot4;                /* of the input's kind; of convolutions */
    const int8_t *weights;              /* in fours; "pointwise" [outputs] */
    const uint8_t *mask;                /* of sparse weights: a bit for each that says whether it is there; or NULL */
    const int32_t *bias;                /* of the sums */
    const int32_t *multiplier;
    const int32_t *residual_multiplier; /* NULL: there is no residual */
    const int64_t *offsets;             /* NULL: offset */
    const int16_t *limits;              /* [outputs][2]; NULL: low and high */
    int64_t offset;
    int16_t low, high;
    int16_t inputs, outputs, taps, stride, before;
    int8_t shift, kind, residual_kind;
} linear_layer;

/* Rows of a tensor that are in memory: `first` to `end`, of all `total`. */
typedef struct {
    void *data;
    int32_t first, end, total;
} rows;

static inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }
static inline int64_t clip(int64_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static inline int32_t value_at(const void *x, int32_t index, int kind)
{
    switch (kind) {
    case UINT8: return ((const uint8_t *)x)[index];
    case INT8: return ((const int8_t *)x)[index];
    default: return ((const int16_t *)x)[index];
    }
}

static inline int32_t *filled(int32_t *values, int32_t count, int32_t value)
{
    for (int32_t i = 0; i < count; i++)
        values[i] = value;
    return values;
}

/* ---- line buffers ---- */

/* The row behind the last one that a window needs which ends `end` outputs, of a tensor of `total` rows. */
static inline int32_t reach(int32_t end, int32_t stride, int32_t before, int32_t window, int32_t total)
{
    return least((end - 1) * stride - before + window, total);
}

/* Drops rows before `first` from a line buffer. */
static inline void forget(rows *lines, int32_t first, int32_t row_bytes)
{
    first = least(most(first, lines->first), lines->end);
    memmove(lines->data, (uint8_t *)lines->data + (first - lines->first) * row_bytes,
            (size_t)((lines->end - first) * row_bytes));
    lines->first = first;
}

static inline void *row_at(const rows *lines, int32_t row, int32_t row_bytes)
{
    return (uint8_t *)lines->data + (row - lines->first) * row_bytes;
}

/* ---- products ---- */

#if defined(__ARM_FEATURE_SIMD32) /* Cortex-M4 and M7, M33 and M55 with DSP: two products an instruction */
#include <arm_acle.h>

static inline uint32_t load4(const void *x)
{
    uint32_t value;
    memcpy(&value, x, 4);
    return value;
}

/* Bytes 0 and 2, or 1 and 3, of four as two numbers of 16 bits. */
static inline uint32_t even_int8(uint32_t four) { return (uint32_t)__sxtb16((int8x4_t)four); }
static inline uint32_t even_uint8(uint32_t four) { return (uint32_t)__uxtb16((uint8x4_t)four); }
static inline uint32_t odd_int8(uint32_t four)
{
    __asm__("sxtb16 %0, %0, ror #8" : "+r"(four)); /* the intrinsic turns in an instruction of its own */
    return four;
}
static inline uint32_t odd_uint8(uint32_t four)
{
    __asm__("uxtb16 %0, %0, ror #8" : "+r"(four));
    return four;
}

static inline int32_t product4(uint32_t even, uint32_t odd, const int8_t *weights, int32_t sum)
{
    const uint32_t four = load4(weights);
    sum = __smlad((int16x2_t)even, (int16x2_t)even_int8(four), sum);
    return __smlad((int16x2_t)odd, (int16x2_t)odd_int8(four), sum);
}

#define PAIRS(make_even, make_odd)                       \
    const uint32_t even = make_even, odd = make_odd;     \
    a = product4(even, odd, weights, a);                 \
    b = product4(even, odd, weights + 4, b);             \
    c = product4(even, odd, weights + 8, c);             \
    d = product4(even, odd, weights + 12, d);
#define FOUR_UINT8                        \
    const uint32_t four = load4(values);  \
    PAIRS(even_uint8(four), odd_uint8(four))
#define FOUR_INT8                         \
    const uint32_t four = load4(values);  \
    PAIRS(even_int8(four), odd_int8(four))
#define FOUR_INT16                                                 \
    const uint32_t low = load4(values), high = load4(values + 2);  \
    PAIRS((low & 0xffff) | (high << 16), (low >> 16) | (high & 0xffff0000))
#else
#define FOUR_UINT8 ONE(0) ONE(1) ONE(2) ONE(3)
#define FOUR_INT8 FOUR_UINT8
#define FOUR_INT16 FOUR_UINT8
#endif

#define ONE(i)                       \
    {                                \
        const int32_t x = values[i]; \
        a += x * weights[i];         \
        b += x * weights[4 + i];     \
        c += x * weights[8 + i];     \
        d += x * weights[12 + i];    \
    }

#define DEFINE_DOT4(name, type, four_values)                                                 \
    OWN_CODE void name(const void *x, const int8_t *weights, int32_t count, int32_t sums[4]) \
    {                                                                                        \
        const type *values = x;                                                              \
        int32_t a = 0, b = 0, c = 0, d = 0;                                                  \
        for (; count >= 4; count -= 4, values += 4, weights += 16) {                         \
            four_values                                                                      \
        }                                                                                    \
        for (; count > 0; count--, values++, weights++)                                      \
            ONE(0)                                                                           \
        sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;                                  \
    }

DEFINE_DOT4(dot4_uint8, uint8_t, FOUR_UINT8)
DEFINE_DOT4(dot4_int8, int8_t, FOUR_INT8)
DEFINE_DOT4(dot4_int16, int16_t, FOUR_INT16)

static inline int32_t in_fours(int32_t count) { return (count + 3) / 4 * 4; }

/* ---- layers ---- */

/* A layer of sparse weights with all of them, which are written to `weights`. */
static inline linear_layer unpacked(const linear_layer *layer, void *weights)
{
    const int32_t count = in_fours(layer->outputs) * in_fours(layer->taps * layer->inputs);
    const int8_t *next = layer->weights;
    linear_layer all = *layer;
    int8_t *weight = weights;
    for (int32_t i = 0; i < count; i++)
        weight[i] = layer->mask[i / 8] >> i % 8 & 1 ? *next++ : 0;
    all.weights = weights;
    return all;
}

/* What becomes of a channel's sum, times its multiplier. */
EACH_CALL int32_t finish(const linear_layer *layer, int32_t channel, int64_t product, int32_t residual)
{
    int64_t total = product + (layer->offsets ? layer->offsets[channel] : layer->offset);
    if (layer->residual_multiplier)
        total += (int64_t)residual * layer->residual_multiplier[channel];
    total >>= layer->shift;
    if (layer->limits)
        return (int32_t)clip(total, layer->limits[2 * channel], layer->limits[2 * channel + 1]);
    return (int32_t)clip(total, layer->low, layer->high);
}

/* The multipliers of a layer, scaled by gates of 15 fractional bits. */
static inline const int32_t *gated(const linear_layer *layer, const int16_t *gate, int32_t *multiplier)
{
    for (int32_t channel = 0; channel < layer->outputs; channel++)
        multiplier[channel] = (int32_t)(((int64_t)layer->multiplier[channel] * gate[channel] + (1 << 14)) >> 15);
    return multiplier;
}

/* Rows begin to end of a convolution over time. Where its taps reach over an edge of x, they see zeros: `edge` holds what
 * they see then, taps * inputs values.
 * residual, y: row `begin` of the shortcut (or NULL) and of the output. They may be the same. */
EACH_CALL void convolve(const linear_layer *layer, const int32_t *multiplier, const rows *x, const uint8_t *residual,
                        uint8_t *y, int32_t begin, int32_t end, void *edge)
{
    const int32_t taps = layer->taps, width = taps * layer->inputs, outputs = layer->outputs;
    const int32_t row_bytes = layer->inputs * (layer->kind == INT16 ? 2 : 1);
    for (int32_t row = begin; row < end; row++) {
        const int32_t start = row * layer->stride - layer->before;
        const int8_t *weights = layer->weights;
        const void *seen = edge;
        if (start >= 0 && start + taps <= x->total) {
            seen = row_at(x, start, row_bytes);
        } else {
            const int32_t from = least(most(0, -start), taps), to = most(from, least(taps, x->total - start));
            memset(edge, 0, (size_t)(taps * row_bytes));
            if (to > from)
                memcpy((uint8_t *)edge + from * row_bytes, row_at(x, start + from, row_bytes),
                       (size_t)((to - from) * row_bytes));
        }
        for (int32_t channel = 0; channel < outputs; channel += 4) {
            int32_t sums[4];
            layer->dot4(seen, weights, width, sums);
            for (int32_t i = 0; i < 4 && channel + i < outputs; i++) {
                const int32_t place = channel + i;
                const int64_t product = (int64_t)(sums[i] + layer->bias[place]) * multiplier[place];
                const int32_t shortcut = residual ? value_at(residual, place, layer->residual_kind) : 0;
                y[place] = (uint8_t)finish(layer, place, product, shortcut);
            }
            weights += 4 * in_fours(width);
        }
        y += outputs;
        residual = residual ? residual + outputs : NULL;
    }
}

/* Rows begin to end of x times one number a channel. x, residual, y: row `begin`. */
static inline void scale_rows(const linear_layer *layer, const int32_t *multiplier, const void *x,
                              const uint8_t *residual, uint8_t *y, int32_t begin, int32_t end)
{
    const int32_t outputs = layer->outputs, count = (end - begin) * outputs;
    for (int32_t i = 0, channel = 0; i < count; i++, channel = channel + 1 < outputs ? channel + 1 : 0) {
        const int32_t sum = value_at(x, i, layer->kind) * layer->weights[channel] + layer->bias[channel];
        const int32_t shortcut = residual ? value_at(residual, i, layer->residual_kind) : 0;
        y[i] = (uint8_t)finish(layer, channel, (int64_t)sum * multiplier[channel], shortcut);
    }
}

/* Rows begin to end of the maximum over `window` rows; what lies beyond the edges of x does not count. */
static inline void max_pool(const rows *x, int32_t channels, int kind, int32_t window, int32_t stride, int32_t before,
                            uint8_t *y, int32_t begin, int32_t end)
{
    for (int32_t row = begin; row < end; row++, y += channels) {
        const int32_t start = row * stride - before, from = most(0, start), to = least(start + window, x->total);
        for (int32_t channel = 0; channel < channels; channel++) {
            int32_t largest = INT16_MIN;
            for (int32_t i = from; i < to; i++)
                largest = most(largest, value_at(row_at(x, i, channels), channel, kind));
            y[channel] = (uint8_t)largest;
        }
    }
}

/* ---- over all time ---- */

/* Adds rows begin to end of x to sums[tap][channel] for each tap of a convolution that sees them, `count` rows in all.
 * Nearly all rows are seen by all taps: they are added once, to sums[taps][channel]. x: row `begin`. */
static inline void add_rows(const void *x, int32_t channels, int kind, int32_t taps, int32_t before, int32_t count,
                            int32_t *sums, int32_t begin, int32_t end)
{
    const int32_t all = taps > 1 ? taps : 0;
    for (int32_t row = begin, i = 0; row < end; row++) {
        const int32_t latest = row + before; /* tap k sees it as part of output latest - k */
        int32_t *sum = sums + all * channels;
        if (latest >= taps - 1 && latest < count) {
            for (int32_t channel = 0; channel < channels; channel++)
                sum[channel] += value_at(x, i++, kind);
            continue;
        }
        for (int32_t channel = 0; channel < channels; channel++, i++)
            for (int32_t tap = most(0, latest - count + 1); tap < taps && tap <= latest; tap++)
                sums[tap * channels + channel] += value_at(x, i, kind);
    }
}

static inline int16_t rescale(int32_t value, int32_t multiplier, int shift)
{
    const int64_t half = (int64_t)1 << (shift - 1);
    return (int16_t)clip((value * (int64_t)multiplier + half) >> shift, INT16_MIN, INT16_MAX);
}

/* Makes means of what add_rows has added up. */
static inline void finish_means(const int32_t *sums, int32_t channels, int32_t taps, int32_t multiplier, int shift,
                                int16_t *y)
{
    const int32_t *all = sums + taps * channels;
    for (int32_t i = 0; i < taps * channels; i++)
        y[i] = rescale(taps > 1 ? sums[i] + all[i % channels] : sums[i], multiplier, shift);
}

static inline void maximum_rows(const void *x, int32_t channels, int kind, int32_t *largest, int32_t begin, int32_t end)
{
    for (int32_t row = begin, i = 0; row < end; row++)
        for (int32_t channel = 0; channel < channels; channel++, i++)
            largest[channel] = most(largest[channel], value_at(x, i, kind));
}

/* ---- vectors ---- */

static inline void dense(const linear_layer *layer, const int16_t *x, int16_t *y)
{
    const int8_t *weights = layer->weights;
    for (int32_t output = 0; output < layer->outputs; output += 4) {
        int64_t sums[4] = {0, 0, 0, 0};
        for (int32_t i = 0; i < layer->inputs; i++)
            for (int32_t j = 0; j < 4; j++)
                sums[j] += x[i] * weights[i / 4 * 16 + 4 * j + i % 4];
        for (int32_t j = 0; j < 4 && output + j < layer->outputs; j++) {
            const int32_t place = output + j;
            y[place] = (int16_t)finish(layer, place, (sums[j] + layer->bias[place]) * layer->multiplier[place], 0);
        }
        weights += 4 * in_fours(layer->inputs);
    }
}

/* A table of 257 steps of 1/16 at x >= 0, of 10 fractional bits: the line between neighbours; from 16 on it stays. */
static inline uint32_t look_up(const uint16_t *table, int32_t x)
{
    const int32_t index = least(x, 256 * 64) >> 6, rest = least(x, 256 * 64) & 63;
    return rest ? table[index] - (((uint32_t)(table[index] - table[index + 1]) * (uint32_t)rest + 32) >> 6) : table[index];
}

/* 1 / (1 + exp(-x)), of 16 fractional bits; x has 10. */
static inline uint16_t sigmoid(const uint16_t *table, int32_t x)
{
    const uint32_t below = look_up(table, x < 0 ? -x : x);
    return (uint16_t)(x < 0 ? below : below ? 65536 - below : 65535);
}

static inline void gates(const uint16_t *table, const int16_t *x, int16_t *y, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        y[i] = (int16_t)(sigmoid(table, x[i]) >> 1);
}

#endif

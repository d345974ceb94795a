/* Sections of second order: b0, b1, b2, -a1, -a2, of 30 fractional bits. */
#define SECTIONS @sections@
#define EDGE @edge@ /* samples by which a window is continued at both ends */

static const int32_t coefficients[SECTIONS][5] = {
@coefficients@};

typedef struct {
    int32_t x1, x2, y1, y2, left; /* of 14 fractional bits; left: what rounding left of the last sum */
} section;

/* At rest for a constant: the first section lets none through. */
static void begin_filter(section sections[SECTIONS], int16_t first)
{
    memset(sections, 0, SECTIONS * sizeof *sections);
    sections[0].x1 = sections[0].x2 = first * (1 << 14);
}

static int16_t filter(section sections[SECTIONS], int16_t value)
{
    int32_t x = value * (1 << 14);
    for (int32_t i = 0; i < SECTIONS; i++) {
        section *s = &sections[i];
        const int32_t *c = coefficients[i];
        const int64_t total = (int64_t)c[0] * x + (int64_t)c[1] * s->x1 + (int64_t)c[2] * s->x2 + (int64_t)c[3] * s->y1 +
                              (int64_t)c[4] * s->y2 + s->left;
        const int64_t y = total >> 30, limit = (int64_t)1 << 30;
        s->left = (int32_t)(total & ((1 << 30) - 1));
        s->x2 = s->x1;
        s->x1 = x;
        s->y2 = s->y1;
        s->y1 = x = (int32_t)(y < -limit ? -limit : y > limit ? limit : y);
    }
    return saturated(((int64_t)x + (1 << 13)) >> 14);
}

/* Forwards and backwards. Beyond its ends a window is continued by itself, turned about its first or last value. */
static void filter_window(int16_t *lead, int32_t rows)
{
    const int32_t edge = rows - 1 < EDGE ? rows - 1 : EDGE;
    section sections[SECTIONS];
    int16_t back[EDGE];
    for (int32_t i = 0; i < edge; i++)
        back[i] = saturated(2 * (int64_t)lead[(rows - 1) * MODEL_LEADS] - lead[(rows - 2 - i) * MODEL_LEADS]);
    const int16_t front = lead[0];
    for (int32_t i = edge; i > 0; i--) {
        const int16_t value = saturated(2 * (int64_t)front - lead[i * MODEL_LEADS]);
        if (i == edge)
            begin_filter(sections, value);
        filter(sections, value);
    }
    if (edge == 0)
        begin_filter(sections, front);
    for (int32_t i = 0; i < rows; i++)
        lead[i * MODEL_LEADS] = filter(sections, lead[i * MODEL_LEADS]);
    for (int32_t i = 0; i < edge; i++)
        back[i] = filter(sections, back[i]);
    begin_filter(sections, edge ? back[edge - 1] : lead[0]);
    for (int32_t i = edge; i-- > 0;)
        filter(sections, back[i]);
    for (int32_t i = rows; i-- > 0;)
        lead[i * MODEL_LEADS] = filter(sections, lead[i * MODEL_LEADS]);
}


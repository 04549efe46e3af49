/* memcpy, memmove, memcmp and bcmp for x86_64 with SSE2, in the place of musl's.
 *
 * Most copies of a server are of structures and header lines of 16 to 300 bytes. They are done with few loads and
 * stores that may overlap: all loads come before the first store, so the same code serves memmove. Long copies go by
 * 64 bytes, or by `rep movsb`, which processors of the last ten years do as fast as memory allows.
 *
 * COPY(name) lets a test build these under other names beside the C library's.
 */

#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifndef COPY
#define COPY(name) name
#endif

/* From here on the start of `rep movsb` is paid back. */
#define LONG_COPY 2048

typedef struct { uint16_t value; } __attribute__((packed, may_alias)) two;
typedef struct { uint32_t value; } __attribute__((packed, may_alias)) four;
typedef struct { uint64_t value; } __attribute__((packed, may_alias)) eight;

static inline __m128i load(const unsigned char *at) { return _mm_loadu_si128((const __m128i *)at); }
static inline void store(unsigned char *at, __m128i value) { _mm_storeu_si128((__m128i *)at, value); }
static inline uint64_t load8(const unsigned char *at) { return ((const eight *)at)->value; }
static inline uint32_t load4(const unsigned char *at) { return ((const four *)at)->value; }

/* At most 128 bytes, overlapping or not. */
static inline void short_copy(unsigned char *to, const unsigned char *from, size_t count)
{
    if (count > 64) {
        __m128i a = load(from), b = load(from + 16), c = load(from + 32), d = load(from + 48);
        const unsigned char *last = from + count - 64;
        __m128i e = load(last), f = load(last + 16), g = load(last + 32), h = load(last + 48);
        unsigned char *end = to + count - 64;
        store(to, a), store(to + 16, b), store(to + 32, c), store(to + 48, d);
        store(end, e), store(end + 16, f), store(end + 32, g), store(end + 48, h);
    } else if (count > 32) {
        __m128i a = load(from), b = load(from + 16);
        __m128i c = load(from + count - 32), d = load(from + count - 16);
        store(to, a), store(to + 16, b);
        store(to + count - 32, c), store(to + count - 16, d);
    } else if (count >= 16) {
        __m128i a = load(from), b = load(from + count - 16);
        store(to, a), store(to + count - 16, b);
    } else if (count >= 8) {
        uint64_t a = load8(from), b = load8(from + count - 8);
        ((eight *)to)->value = a;
        ((eight *)(to + count - 8))->value = b;
    } else if (count >= 4) {
        uint32_t a = load4(from), b = load4(from + count - 4);
        ((four *)to)->value = a;
        ((four *)(to + count - 4))->value = b;
    } else if (count >= 2) {
        uint16_t a = ((const two *)from)->value, b = ((const two *)(from + count - 2))->value;
        ((two *)to)->value = a;
        ((two *)(to + count - 2))->value = b;
    } else if (count == 1) {
        *to = *from;
    }
}

/* More than 128 bytes, from the first to the last: right unless `to` begins inside of the source. */
static inline void forward(unsigned char *to, const unsigned char *from, size_t count)
{
    if (count >= LONG_COPY) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        return;
    }
    /* The last 64 bytes are read first: the loop may write over them. */
    const unsigned char *last = from + count - 64;
    __m128i e = load(last), f = load(last + 16), g = load(last + 32), h = load(last + 48);
    unsigned char *end = to + count - 64;
    while (to < end) {
        __m128i a = load(from), b = load(from + 16), c = load(from + 32), d = load(from + 48);
        store(to, a), store(to + 16, b), store(to + 32, c), store(to + 48, d);
        from += 64;
        to += 64;
    }
    store(end, e), store(end + 16, f), store(end + 32, g), store(end + 48, h);
}

/* More than 128 bytes, from the last to the first: right where `to` begins inside of the source. */
static inline void backward(unsigned char *to, const unsigned char *from, size_t count)
{
    __m128i e = load(from), f = load(from + 16), g = load(from + 32), h = load(from + 48);
    unsigned char *at = to + count;
    from += count;
    while (at > to + 64) {
        from -= 64;
        at -= 64;
        __m128i a = load(from), b = load(from + 16), c = load(from + 32), d = load(from + 48);
        store(at, a), store(at + 16, b), store(at + 32, c), store(at + 48, d);
    }
    store(to, e), store(to + 16, f), store(to + 32, g), store(to + 48, h);
}

void *COPY(memcpy)(void *restrict to, const void *restrict from, size_t count)
{
    if (count <= 128)
        short_copy(to, from, count);
    else
        forward(to, from, count);
    return to;
}

void *COPY(memmove)(void *to, const void *from, size_t count)
{
    if (count <= 128)
        short_copy(to, from, count);
    else if ((uintptr_t)to - (uintptr_t)from < count)
        backward(to, from, count);
    else
        forward(to, from, count);
    return to;
}

static inline int order(uint64_t a, uint64_t b)
{
    a = __builtin_bswap64(a);
    b = __builtin_bswap64(b);
    return (a > b) - (a < b);
}

int COPY(memcmp)(const void *left, const void *right, size_t count)
{
    const unsigned char *a = left, *b = right;
    for (; count >= 16; a += 16, b += 16, count -= 16) {
        int same = _mm_movemask_epi8(_mm_cmpeq_epi8(load(a), load(b)));
        if (same != 0xffff) {
            int at = __builtin_ctz(~same);
            return a[at] - b[at];
        }
    }
    if (count >= 8) {
        uint64_t x = load8(a), y = load8(b);
        if (x != y)
            return order(x, y);
        a += 8, b += 8, count -= 8;
    }
    for (; count; a++, b++, count--)
        if (*a != *b)
            return *a - *b;
    return 0;
}

/* Whether two ranges differ: no order, so the ends may overlap. */
int COPY(bcmp)(const void *left, const void *right, size_t count)
{
    const unsigned char *a = left, *b = right;
    if (count >= 16) {
        size_t at = 0;
        for (; at + 16 < count; at += 16)
            if (_mm_movemask_epi8(_mm_cmpeq_epi8(load(a + at), load(b + at))) != 0xffff)
                return 1;
        at = count - 16;
        return _mm_movemask_epi8(_mm_cmpeq_epi8(load(a + at), load(b + at))) != 0xffff;
    }
    if (count >= 8)
        return (load8(a) ^ load8(b)) != 0 || (load8(a + count - 8) ^ load8(b + count - 8)) != 0;
    if (count >= 4)
        return (load4(a) ^ load4(b)) != 0 || (load4(a + count - 4) ^ load4(b + count - 4)) != 0;
    for (; count; a++, b++, count--)
        if (*a != *b)
            return 1;
    return 0;
}

/* Compares copy.c with the C library at every length up to 400, some long ones, and every overlap. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY(name) ours_##name
#include "../src/copy.c"

enum { ROOM = 20000 };

static unsigned char source[ROOM], expected[ROOM], found[ROOM];

static void fail(const char *what, size_t count, long by)
{
    printf("%s of %zu bytes, shifted by %ld, differs\n", what, count, by);
    exit(1);
}

static void fill(void)
{
    for (size_t at = 0; at < ROOM; at++)
        source[at] = (unsigned char)(at * 131 + at / 251);
}

static void copies(size_t count)
{
    for (size_t skew = 0; skew < 17; skew++) {
        memset(expected, 0xaa, ROOM);
        memset(found, 0xaa, ROOM);
        memcpy(expected + 64 + skew, source + 32, count);
        if (ours_memcpy(found + 64 + skew, source + 32, count) != found + 64 + skew || memcmp(expected, found, ROOM))
            fail("memcpy", count, (long)skew);
    }
    static const long shifts[] = { 0, 1, 7, 15, 16, 63, 64, 65, 127, 129, 500, 3000 };
    for (size_t at = 0; at < 2 * sizeof shifts / sizeof *shifts; at++) {
        long by = at % 2 ? shifts[at / 2] : -shifts[at / 2];
        memcpy(expected, source, ROOM);
        memcpy(found, source, ROOM);
        memmove(expected + 4000 + by, expected + 4000, count);
        if (ours_memmove(found + 4000 + by, found + 4000, count) != found + 4000 + by || memcmp(expected, found, ROOM))
            fail("memmove", count, by);
    }
}

static int sign(int value) { return (value > 0) - (value < 0); }

static void comparisons(size_t count)
{
    memcpy(found + 3, source, count);
    if (ours_memcmp(found + 3, source, count) || ours_bcmp(found + 3, source, count))
        fail("comparison of equals", count, 0);
    /* What follows the range must not count. */
    found[3 + count] = (unsigned char)~source[count];
    if (ours_memcmp(found + 3, source, count) || ours_bcmp(found + 3, source, count))
        fail("comparison beyond the end", count, 0);
    for (size_t at = 0; at < count; at += count > 400 ? 97 : 1) {
        unsigned char kept = found[3 + at];
        for (int flip = 1; flip <= 0x80; flip <<= 7) {
            found[3 + at] = (unsigned char)(kept ^ flip);
            if (sign(ours_memcmp(found + 3, source, count)) != sign(memcmp(found + 3, source, count)))
                fail("memcmp", count, (long)at);
            if (!ours_bcmp(found + 3, source, count))
                fail("bcmp", count, (long)at);
        }
        found[3 + at] = kept;
    }
}

int main(void)
{
    static const size_t longer[] = { 1023, 2047, 2048, 2049, 4095, 5000, 8191 };
    fill();
    for (size_t count = 0; count <= 400; count++)
        copies(count), comparisons(count);
    for (size_t at = 0; at < sizeof longer / sizeof *longer; at++)
        copies(longer[at]), comparisons(longer[at]);
    return 0;
}

/* base/bytes.h - bounded little-endian reader and writer.  Neither can overrun: after the first step too far they stay
 * failed and give zeros. */
#ifndef NX_BASE_BYTES_H
#define NX_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct nx_reader {
    const uint8_t *at, *end;
    bool failed;
};

struct nx_writer {
    uint8_t *at, *end;
    bool failed;
};

static inline uint16_t nx_load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)p[1] << 8);
}

static inline uint32_t nx_load32(const uint8_t *p)
{
    return (uint32_t)nx_load16(p) | (uint32_t)nx_load16(p + 2) << 16;
}

static inline uint64_t nx_load64(const uint8_t *p)
{
    return (uint64_t)nx_load32(p) | (uint64_t)nx_load32(p + 4) << 32;
}

static inline void nx_store16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void nx_store32(uint8_t *p, uint32_t v)
{
    nx_store16(p, (uint16_t)v);
    nx_store16(p + 2, (uint16_t)(v >> 16));
}

static inline void nx_store64(uint8_t *p, uint64_t v)
{
    nx_store32(p, (uint32_t)v);
    nx_store32(p + 4, (uint32_t)(v >> 32));
}

/* p + n; no bytes at NULL are legal here, which C does not say of NULL + 0. */
static inline const uint8_t *nx_step(const void *p, size_t n)
{
    return n == 0 ? p : (const uint8_t *)p + n;
}

static inline struct nx_reader nx_reader(const void *p, size_t n)
{
    return (struct nx_reader){.at = p, .end = nx_step(p, n)};
}

/* The next `n` bytes, or NULL. */
static inline const uint8_t *nx_read(struct nx_reader *r, size_t n)
{
    const uint8_t *p = r->at;

    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        return NULL;
    }
    r->at = nx_step(p, n);
    return p;
}

static inline uint8_t nx_read8(struct nx_reader *r)
{
    const uint8_t *p = nx_read(r, 1);
    return p == NULL ? 0 : p[0];
}

static inline uint16_t nx_read16(struct nx_reader *r)
{
    const uint8_t *p = nx_read(r, 2);
    return p == NULL ? 0 : nx_load16(p);
}

static inline uint32_t nx_read32(struct nx_reader *r)
{
    const uint8_t *p = nx_read(r, 4);
    return p == NULL ? 0 : nx_load32(p);
}

static inline uint64_t nx_read64(struct nx_reader *r)
{
    const uint8_t *p = nx_read(r, 8);
    return p == NULL ? 0 : nx_load64(p);
}

static inline struct nx_writer nx_writer(void *p, size_t n)
{
    return (struct nx_writer){.at = p, .end = (uint8_t *)(uintptr_t)nx_step(p, n)};
}

/* Room for `n` bytes, or NULL. */
static inline uint8_t *nx_write(struct nx_writer *w, size_t n)
{
    uint8_t *p = w->at;

    if (w->failed || (size_t)(w->end - w->at) < n) {
        w->failed = true;
        return NULL;
    }
    if (n != 0)
        w->at += n;
    return p;
}

static inline void nx_write_bytes(struct nx_writer *w, const void *bytes, size_t n)
{
    uint8_t *p = nx_write(w, n);
    if (p != NULL && n != 0)
        memcpy(p, bytes, n);
}

static inline void nx_write8(struct nx_writer *w, uint8_t v)
{
    nx_write_bytes(w, &v, 1);
}

static inline void nx_write16(struct nx_writer *w, uint16_t v)
{
    uint8_t *p = nx_write(w, 2);
    if (p != NULL)
        nx_store16(p, v);
}

static inline void nx_write32(struct nx_writer *w, uint32_t v)
{
    uint8_t *p = nx_write(w, 4);
    if (p != NULL)
        nx_store32(p, v);
}

static inline void nx_write64(struct nx_writer *w, uint64_t v)
{
    uint8_t *p = nx_write(w, 8);
    if (p != NULL)
        nx_store64(p, v);
}

#endif

/* wire/decode.c - archive -> struct, by the table of message.c.
 *
 * Owner: nobody, it is pure.  Blocks outside the root must lie in the order of the fields without overlap, as the
 * reference demands: `floor` is where the next one may begin.  It allocates nothing and does not look at padding. */
#include "wire/codec.h"

#include "base/bytes.h"
#include "base/status.h"
#include "wire/schema.h"

struct decoder {
    const uint8_t *archive;
    const char *message, *field; /* for the sentence */
    uint64_t floor, root;
};

static nexar_status refuse(const struct decoder *d, const char *why)
{
    return nx_fail(NEXAR_EPROTO, "message %s: %s %s", d->message, d->field, why);
}

/* The block of `size` bytes that lies `offset` bytes from the position `base`, and must lie in [floor, ceiling). */
static nexar_status take_block(struct decoder *d, uint64_t base, uint32_t offset, uint64_t size, uint64_t align,
                               uint64_t ceiling, const uint8_t **block)
{
    int64_t at = (int64_t)base + (int32_t)offset;

    if (at < (int64_t)d->floor || (uint64_t)at > ceiling || size > ceiling - (uint64_t)at)
        return refuse(d, "lies outside its part of the archive");
    if (((uint64_t)at & (align - 1)) != 0)
        return refuse(d, "is not aligned");
    d->floor = (uint64_t)at + size;
    *block = d->archive + at;
    return NEXAR_OK;
}

/* A string's length and, if it is not inline, the offset of its bytes from the string's own position. */
static bool text_is_inline(const uint8_t *p, size_t *len, uint32_t *offset)
{
    uint32_t word = nx_load32(p);
    const uint8_t *end;

    if ((p[0] & 0xC0) == 0x80) {
        *len = (word & 0x3F) | (word & ~(uint32_t)0xFF) >> 2;
        *offset = nx_load32(p + 4);
        return false;
    }
    end = memchr(p, 0xFF, NX_TEXT_INLINE);
    *len = end == NULL ? NX_TEXT_INLINE : (size_t)(end - p);
    return true;
}

static struct nx_text load_text(const uint8_t *p)
{
    size_t len;
    uint32_t offset;

    if (text_is_inline(p, &len, &offset))
        return (struct nx_text){.data = (const char *)p, .len = len};
    return (struct nx_text){.data = (const char *)p + (int32_t)offset, .len = len};
}

static nexar_status check_text(struct decoder *d, uint64_t at, uint64_t ceiling)
{
    const uint8_t *block = d->archive + at;
    size_t len;
    uint32_t offset;
    nexar_status status;

    if (!text_is_inline(block, &len, &offset)) {
        if (len <= NX_TEXT_INLINE)
            return refuse(d, "is short and yet not in its field");
        status = take_block(d, at, offset, len, 1, ceiling, &block);
        if (status != NEXAR_OK)
            return status;
    }
    return nx_utf8_valid(block, len) ? NEXAR_OK : refuse(d, "is not UTF-8");
}

/* Texts of the pairs come before the array that refers to them. */
static nexar_status check_pairs(struct decoder *d, uint64_t at, struct nx_pairs *out)
{
    const uint8_t *p = d->archive + at;
    uint32_t count = nx_load32(p + 4);
    uint64_t before = d->floor;
    nexar_status status;

    status = take_block(d, at, nx_load32(p), (uint64_t)count * NX_PAIR_SIZE, 4, d->root, &p);
    if (status != NEXAR_OK)
        return status;
    uint64_t array = (uint64_t)(p - d->archive);
    uint64_t after = d->floor;
    d->floor = before;
    for (uint32_t i = 0; i < count; i++) {
        status = check_text(d, array + (uint64_t)i * NX_PAIR_SIZE + 4, array);
        if (status != NEXAR_OK)
            return status;
    }
    d->floor = after;
    *out = (struct nx_pairs){.count = count, .raw = p};
    return NEXAR_OK;
}

static nexar_status decode_field(struct decoder *d, enum nx_field_type type, uint64_t at, void *to)
{
    const uint8_t *p = d->archive + at;
    const uint8_t *block = NULL;
    nexar_status status = NEXAR_OK;

    switch (type) {
    case NX_FIELD_U8:
        *(uint8_t *)to = p[0];
        break;
    case NX_FIELD_U16:
        *(uint16_t *)to = nx_load16(p);
        break;
    case NX_FIELD_U32:
        *(uint32_t *)to = nx_load32(p);
        break;
    case NX_FIELD_U64:
        *(uint64_t *)to = nx_load64(p);
        break;
    case NX_FIELD_BYTES:
        status = take_block(d, at, nx_load32(p), nx_load32(p + 4), 1, d->root, &block);
        if (status == NEXAR_OK)
            *(struct nx_bytes *)to = nx_bytes(block, nx_load32(p + 4));
        break;
    case NX_FIELD_U32S:
        status = take_block(d, at, nx_load32(p), (uint64_t)nx_load32(p + 4) * 4, 4, d->root, &block);
        if (status == NEXAR_OK)
            *(struct nx_u32s *)to = (struct nx_u32s){.count = nx_load32(p + 4), .raw = block};
        break;
    case NX_FIELD_TEXT:
        status = check_text(d, at, d->root);
        if (status == NEXAR_OK)
            *(struct nx_text *)to = load_text(p);
        break;
    case NX_FIELD_PAIRS:
        status = check_pairs(d, at, to);
        break;
    case NX_FIELD_END:
        break;
    }
    return status;
}

nexar_status nx_message_decode(const uint8_t *archive, size_t n, struct nx_message *out)
{
    struct decoder d = {.archive = archive, .root = n - NX_ROOT_SIZE};
    const struct nx_schema *schema;
    uint32_t end = 1; /* behind the number */
    nexar_status status;

    memset(out, 0, sizeof(*out));
    if (n < NX_ROOT_SIZE || n % NX_ROOT_ALIGN != 0)
        return nx_fail(NEXAR_EPROTO, "an archive cannot have %zu bytes", n);
    schema = nx_schema(archive[d.root]);
    if (schema == NULL)
        return nx_fail(NEXAR_EPROTO, "there is no message of kind %u", archive[d.root]);
    d.message = schema->name;
    for (const struct nx_field *f = schema->fields; f->type != NX_FIELD_END; f++) {
        uint32_t place = nx_field_place(f->type, end, &end);

        d.field = f->name;
        status = decode_field(&d, f->type, d.root + place, (char *)out + f->offset);
        if (status != NEXAR_OK) {
            memset(out, 0, sizeof(*out));
            return status;
        }
    }
    out->kind = (enum nx_kind)archive[d.root];
    return NEXAR_OK;
}

struct nx_pair nx_pairs_at(const struct nx_pairs *list, size_t i)
{
    const uint8_t *p = list->raw;

    if (p == NULL)
        return list->items[i];
    p += i * NX_PAIR_SIZE;
    return (struct nx_pair){.key = nx_load32(p), .text = load_text(p + 4)};
}

uint32_t nx_u32s_at(const struct nx_u32s *list, size_t i)
{
    return list->raw == NULL ? list->items[i] : nx_load32(list->raw + i * 4);
}

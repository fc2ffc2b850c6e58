/* wire/encode.c - struct -> archive, by the table of message.c.
 *
 * Owner: nobody, it is pure.  Out-of-line data in the order of the fields, padding of zeros, the root at the end: the
 * one layout that the reference's writer makes.  It does not allocate; the caller brings the memory. */
#include "wire/codec.h"

#include "base/bytes.h"
#include "base/status.h"
#include "wire/schema.h"

/* Adds `size` bytes at the alignment; false when that is more than an archive can be. */
static bool grow(uint64_t *at, uint64_t size, uint64_t align)
{
    *at = nx_align(*at, align);
    if (size > NX_ARCHIVE_MAX || *at > NX_ARCHIVE_MAX - size)
        return false;
    *at += size;
    return true;
}

static nexar_status grow_text(const struct nx_text *text, const char *field, uint64_t *at)
{
    if (!nx_utf8_valid(text->data, text->len))
        return nx_fail(NEXAR_EINVAL, "%s is not UTF-8", field);
    if (text->len > NX_TEXT_INLINE && (text->len > NX_TEXT_MAX || !grow(at, text->len, 1)))
        return nx_fail(NEXAR_EINVAL, "%s is too long", field);
    return NEXAR_OK;
}

static nexar_status grow_pairs(const struct nx_pairs *list, const char *field, uint64_t *at)
{
    for (size_t i = 0; i < list->count; i++) {
        struct nx_pair pair = nx_pairs_at(list, i);
        nexar_status status = grow_text(&pair.text, field, at);

        if (status != NEXAR_OK)
            return status;
    }
    if (list->count > NX_ARCHIVE_MAX / NX_PAIR_SIZE || !grow(at, list->count * NX_PAIR_SIZE, 4))
        return nx_fail(NEXAR_EINVAL, "%s is too long", field);
    return NEXAR_OK;
}

nexar_status nx_message_size(const struct nx_message *m, size_t *n)
{
    const struct nx_schema *schema = nx_schema((unsigned)m->kind);
    uint64_t at = 0;
    nexar_status status = NEXAR_OK;
    bool fits = true;

    *n = 0;
    if (schema == NULL)
        return nx_fail(NEXAR_EINVAL, "there is no message of kind %u", (unsigned)m->kind);
    for (const struct nx_field *f = schema->fields; f->type != NX_FIELD_END; f++) {
        const void *from = (const char *)m + f->offset;

        if (f->type == NX_FIELD_BYTES)
            fits = grow(&at, ((const struct nx_bytes *)from)->len, 1);
        else if (f->type == NX_FIELD_U32S)
            fits = ((const struct nx_u32s *)from)->count <= NX_ARCHIVE_MAX / 4 &&
                   grow(&at, ((const struct nx_u32s *)from)->count * 4, 4);
        else if (f->type == NX_FIELD_TEXT)
            status = grow_text(from, f->name, &at);
        else if (f->type == NX_FIELD_PAIRS)
            status = grow_pairs(from, f->name, &at);
        if (!fits)
            return nx_fail(NEXAR_EINVAL, "%s is too long", f->name);
        if (status != NEXAR_OK)
            return status;
    }
    if (!grow(&at, NX_ROOT_SIZE, NX_ROOT_ALIGN))
        return nx_fail(NEXAR_EINVAL, "message %s is too long", schema->name);
    *n = (size_t)at;
    return NEXAR_OK;
}

struct encoder {
    uint8_t *archive;
    size_t at; /* where the next block goes */
};

static void pad(struct encoder *e, size_t align)
{
    size_t to = nx_align(e->at, align);

    memset(e->archive + e->at, 0, to - e->at);
    e->at = to;
}

/* Appends a block and returns where it lies. */
static size_t put(struct encoder *e, const void *data, size_t len)
{
    size_t at = e->at;

    if (len != 0)
        memcpy(e->archive + at, data, len);
    e->at += len;
    return at;
}

/* `offset` as it is stored: from the position `from`. */
static void put_offset(struct encoder *e, size_t field, size_t from, size_t to)
{
    nx_store32(e->archive + field, (uint32_t)(to - from));
}

static void put_vec(struct encoder *e, size_t field, size_t block, size_t len)
{
    put_offset(e, field, field, block);
    nx_store32(e->archive + field + 4, (uint32_t)len);
}

/* The string's field; its bytes lie at `block` if they do not fit into the field. */
static void put_text(struct encoder *e, size_t field, const struct nx_text *text, size_t block)
{
    uint32_t len = (uint32_t)text->len;

    if (text->len > NX_TEXT_INLINE) {
        nx_store32(e->archive + field, (len & 0x3F) | 0x80 | len >> 6 << 8);
        put_offset(e, field + 4, field, block);
        return;
    }
    memset(e->archive + field, 0xFF, NX_TEXT_INLINE);
    if (text->len != 0)
        memcpy(e->archive + field, text->data, text->len);
}

/* All long texts, then the array. */
static void put_pairs(struct encoder *e, size_t field, const struct nx_pairs *list)
{
    size_t block = e->at;

    for (size_t i = 0; i < list->count; i++) {
        struct nx_pair pair = nx_pairs_at(list, i);

        if (pair.text.len > NX_TEXT_INLINE)
            put(e, pair.text.data, pair.text.len);
    }
    pad(e, 4);
    put_vec(e, field, e->at, list->count);
    for (size_t i = 0; i < list->count; i++) {
        struct nx_pair pair = nx_pairs_at(list, i);

        nx_store32(e->archive + e->at, pair.key);
        put_text(e, e->at + 4, &pair.text, block);
        if (pair.text.len > NX_TEXT_INLINE)
            block += pair.text.len;
        e->at += NX_PAIR_SIZE;
    }
}

static void put_u32s(struct encoder *e, size_t field, const struct nx_u32s *list)
{
    pad(e, 4);
    put_vec(e, field, e->at, list->count);
    for (size_t i = 0; i < list->count; i++, e->at += 4)
        nx_store32(e->archive + e->at, nx_u32s_at(list, i));
}

static void encode_field(struct encoder *e, enum nx_field_type type, size_t field, const void *from)
{
    const struct nx_bytes *bytes = from;
    const struct nx_text *text = from;

    switch (type) {
    case NX_FIELD_U8:
        e->archive[field] = *(const uint8_t *)from;
        break;
    case NX_FIELD_U16:
        nx_store16(e->archive + field, *(const uint16_t *)from);
        break;
    case NX_FIELD_U32:
        nx_store32(e->archive + field, *(const uint32_t *)from);
        break;
    case NX_FIELD_U64:
        nx_store64(e->archive + field, *(const uint64_t *)from);
        break;
    case NX_FIELD_BYTES:
        put_vec(e, field, put(e, bytes->data, bytes->len), bytes->len);
        break;
    case NX_FIELD_TEXT:
        put_text(e, field, text, text->len > NX_TEXT_INLINE ? put(e, text->data, text->len) : 0);
        break;
    case NX_FIELD_U32S:
        put_u32s(e, field, from);
        break;
    case NX_FIELD_PAIRS:
        put_pairs(e, field, from);
        break;
    case NX_FIELD_END:
        break;
    }
}

nexar_status nx_message_encode(const struct nx_message *m, uint8_t *out, size_t n)
{
    struct encoder e = {.archive = out};
    uint32_t end = 1; /* behind the number */
    size_t size;
    size_t root;
    nexar_status status = nx_message_size(m, &size);

    if (status != NEXAR_OK)
        return status;
    if (n != size)
        return nx_fail(NEXAR_EINVAL, "message %s has %zu bytes, not %zu", nx_message_name(m->kind), size, n);
    root = size - NX_ROOT_SIZE;
    memset(out + root, 0, NX_ROOT_SIZE);
    out[root] = (uint8_t)m->kind;
    for (const struct nx_field *f = nx_schema((unsigned)m->kind)->fields; f->type != NX_FIELD_END; f++) {
        uint32_t place = nx_field_place(f->type, end, &end);

        encode_field(&e, f->type, root + place, (const char *)m + f->offset);
    }
    pad(&e, NX_ROOT_ALIGN);
    return NEXAR_OK;
}

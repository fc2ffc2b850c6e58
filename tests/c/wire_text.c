/* wire_text.c - messages and streams as lines of text.
 *
 * It knows the fields of messages from the codec's own table; that the table is right is shown by the vectors, whose
 * names and bytes come from elsewhere. */
#include "wire_text.h"

#include "wire/schema.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            abort();                                                           \
        }                                                                      \
    } while (0)

static void line(struct text *out, const char *name)
{
    text_print(out, "%s = ", name);
}

static void field_text(const struct nx_field *f, const void *from, struct text *out)
{
    const struct nx_pairs *pairs = from;
    const struct nx_u32s *u32s = from;
    const struct nx_bytes *bytes = from;
    const struct nx_text *text = from;

    if (f->type == NX_FIELD_PAIRS) {
        for (size_t i = 0; i < pairs->count; i++) {
            struct nx_pair pair = nx_pairs_at(pairs, i);
            text_print(out, "%s = %u ", f->name, pair.key);
            text_add(out, pair.text.data, pair.text.len);
            text_add(out, "\n", 1);
        }
        return;
    }
    if (f->type == NX_FIELD_U32S) {
        for (size_t i = 0; i < u32s->count; i++)
            text_print(out, "%s = %u\n", f->name, nx_u32s_at(u32s, i));
        return;
    }
    line(out, f->name);
    if (f->type == NX_FIELD_U8)
        text_print(out, "%u", *(const uint8_t *)from);
    else if (f->type == NX_FIELD_U16)
        text_print(out, "%u", *(const uint16_t *)from);
    else if (f->type == NX_FIELD_U32)
        text_print(out, "%u", *(const uint32_t *)from);
    else if (f->type == NX_FIELD_U64)
        text_print(out, "%llu", *(const unsigned long long *)from);
    else if (f->type == NX_FIELD_BYTES)
        text_add_hex(out, bytes->data, bytes->len);
    else
        text_add(out, text->data, text->len);
    text_add(out, "\n", 1);
}

void message_text(const struct nx_message *m, struct text *out)
{
    const struct nx_schema *schema = nx_schema((unsigned)m->kind);

    CHECK(schema != NULL);
    text_print(out, "message = %s\n", schema->name);
    for (const struct nx_field *f = schema->fields; f->type != NX_FIELD_END; f++)
        field_text(f, (const char *)m + f->offset, out);
}

void *arena_take(struct arena *a, size_t n)
{
    void *p = a->bytes + a->used;

    CHECK(n <= sizeof(a->bytes) - a->used);
    a->used += nx_align(n, 16);
    return p;
}

static uint64_t number(const char *value, uint64_t max)
{
    char *end;
    uint64_t n = strtoull(value, &end, 10);

    CHECK(value[0] != '\0' && *end == '\0' && n <= max);
    return n;
}

static void bytes_from(const char *value, struct arena *a, struct nx_bytes *to)
{
    size_t n;
    uint8_t *hex = vector_hex(value, &n);
    uint8_t *copy = arena_take(a, n);

    memcpy(copy, hex, n);
    free(hex);
    *to = nx_bytes(copy, n);
}

static void list_from(const struct vector *v, const struct nx_field *f, struct arena *a, void *to)
{
    struct nx_pair *pairs = arena_take(a, v->n * sizeof(*pairs));
    uint32_t *u32s = arena_take(a, v->n * sizeof(*u32s));
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++) {
        char *end;

        if (strcmp(v->lines[i].key, f->name) != 0)
            continue;
        u32s[n] = pairs[n].key = (uint32_t)strtoul(v->lines[i].value, &end, 10);
        CHECK(*end == (f->type == NX_FIELD_PAIRS ? ' ' : '\0'));
        if (f->type == NX_FIELD_PAIRS)
            pairs[n].text = nx_text(end + 1);
        n++;
    }
    if (f->type == NX_FIELD_PAIRS)
        *(struct nx_pairs *)to = (struct nx_pairs){.count = n, .items = pairs};
    else
        *(struct nx_u32s *)to = (struct nx_u32s){.count = n, .items = u32s};
}

static void field_from(const struct vector *v, const struct nx_field *f, struct arena *a, void *to)
{
    const char *value = vector_get(v, f->name);

    if (f->type == NX_FIELD_PAIRS || f->type == NX_FIELD_U32S) {
        list_from(v, f, a, to);
        return;
    }
    CHECK(value != NULL);
    if (f->type == NX_FIELD_U8)
        *(uint8_t *)to = (uint8_t)number(value, UINT8_MAX);
    else if (f->type == NX_FIELD_U16)
        *(uint16_t *)to = (uint16_t)number(value, UINT16_MAX);
    else if (f->type == NX_FIELD_U32)
        *(uint32_t *)to = (uint32_t)number(value, UINT32_MAX);
    else if (f->type == NX_FIELD_U64)
        *(uint64_t *)to = number(value, UINT64_MAX);
    else if (f->type == NX_FIELD_BYTES)
        bytes_from(value, a, to);
    else
        *(struct nx_text *)to = nx_text(value);
}

void message_from_vector(const struct vector *v, struct arena *a, struct nx_message *out)
{
    const char *name = vector_get(v, "message");
    const struct nx_schema *schema = NULL;

    CHECK(name != NULL);
    memset(out, 0, sizeof(*out));
    for (unsigned kind = 0; kind < 256 && schema == NULL; kind++) {
        if (strcmp(nx_message_name((enum nx_kind)kind), name) == 0) {
            out->kind = (enum nx_kind)kind;
            schema = nx_schema(kind);
        }
    }
    CHECK(schema != NULL);
    for (const struct nx_field *f = schema->fields; f->type != NX_FIELD_END; f++)
        field_from(v, f, a, (char *)out + f->offset);
}

void stream_text_init(struct stream_text *s, enum nx_dialect dialect, uint64_t limit)
{
    *s = (struct stream_text){0};
    nx_parser_init(&s->parser, dialect, limit);
}

static void head_text(struct stream_text *s)
{
    const struct nx_head *h = &s->parser.head;

    CHECK(!s->open);
    s->open = true;
    s->got = 0;
    text_print(&s->text,
               "head = tag %u lane %u order %u scope %llu id %llu call %llu count %llu len %llu\npayload = ", h->tag,
               h->lane, h->order, (unsigned long long)h->scope, (unsigned long long)h->id, (unsigned long long)h->call,
               (unsigned long long)h->count, (unsigned long long)h->len);
}

static void close_message(struct stream_text *s)
{
    if (s->open)
        text_add(&s->text, "\n", 1);
    s->open = false;
}

size_t stream_text_feed(struct stream_text *s, const uint8_t *bytes, size_t n, size_t steps)
{
    struct nx_reader in = nx_reader(bytes, n);
    struct nx_reader piece;

    for (size_t i = 0; i < steps; i++) {
        const uint8_t *before = in.at;

        switch (nx_parser_next(&s->parser, &in, &piece)) {
        case NX_PARSE_MORE:
            CHECK(in.at == in.end);
            return n;
        case NX_PARSE_HEAD:
            CHECK(in.at > before && in.at - before <= NX_HEAD_MAX + 1);
            head_text(s);
            break;
        case NX_PARSE_PAYLOAD:
            CHECK(s->open && piece.at == before && piece.end == in.at && piece.at < piece.end);
            text_add_hex(&s->text, piece.at, (size_t)(piece.end - piece.at));
            s->got += (uint64_t)(piece.end - piece.at);
            CHECK(s->got <= s->parser.head.len);
            break;
        case NX_PARSE_END:
            CHECK(s->open && in.at == before && s->got == s->parser.head.len);
            close_message(s);
            break;
        case NX_PARSE_ERROR:
            CHECK(s->parser.error != NX_STREAM_FINE && !s->open);
            if (!s->dead)
                text_print(&s->text, "error = %s\n", nx_stream_error_text(s->parser.error));
            s->dead = true;
            return (size_t)(in.at - bytes);
        }
    }
    return (size_t)(in.at - bytes);
}

void stream_text_finish(struct stream_text *s)
{
    enum nx_stream_error error = nx_parser_finish(&s->parser);

    CHECK((error == NX_STREAM_FINE) == !(s->open || s->dead || s->parser.have != 0));
    close_message(s);
    if (!s->dead && error != NX_STREAM_FINE)
        text_print(&s->text, "finish = %s\n", nx_stream_error_text(error));
    text_add(&s->text, "", 0);
}

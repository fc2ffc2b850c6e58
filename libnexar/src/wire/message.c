/* wire/message.c - the table of messages, built from NX_MESSAGE_MAP, and what can be asked of it without a codec.
 *
 * Owner: nobody, it is constant.  The type of each field is that of the struct's member, so row and struct cannot
 * differ. */
#include "wire/message.h"

#include "base/bytes.h"
#include "wire/schema.h"

#define TYPE_OF(x)                            \
    _Generic((x), uint8_t                     \
             : NX_FIELD_U8, uint16_t          \
             : NX_FIELD_U16, uint32_t         \
             : NX_FIELD_U32, uint64_t         \
             : NX_FIELD_U64, struct nx_bytes  \
             : NX_FIELD_BYTES, struct nx_text \
             : NX_FIELD_TEXT, struct nx_u32s  \
             : NX_FIELD_U32S, struct nx_pairs \
             : NX_FIELD_PAIRS)

#define F(member, field)                                      \
    {.type = TYPE_OF(((struct nx_message *)0)->member.field), \
     .offset = offsetof(struct nx_message, member.field),     \
     .name = #field},
#define XX(name, number, member, lane, fields) \
    static const struct nx_field member##_fields[] = {fields{.type = NX_FIELD_END}};
NX_MESSAGE_MAP(XX, F)
#undef XX

static const struct nx_schema schemas[] = {
#define XX(upper, number, member, to, list) \
    [number] = {.name = #member, .lane = NX_LANE_##to, .fields = member##_fields},
    NX_MESSAGE_MAP(XX, NX_NO_FIELDS)
#undef XX
};

const struct nx_schema *nx_schema(unsigned kind)
{
    if (kind >= sizeof(schemas) / sizeof(schemas[0]) || schemas[kind].name == NULL)
        return NULL;
    return &schemas[kind];
}

uint32_t nx_field_place(enum nx_field_type type, uint32_t at, uint32_t *end)
{
    static const struct {
        uint8_t size, align;
    } shapes[] = {
        [NX_FIELD_U8] = {1, 1},    [NX_FIELD_U16] = {2, 2},  [NX_FIELD_U32] = {4, 4},  [NX_FIELD_U64] = {8, 8},
        [NX_FIELD_BYTES] = {8, 4}, [NX_FIELD_TEXT] = {8, 4}, [NX_FIELD_U32S] = {8, 4}, [NX_FIELD_PAIRS] = {8, 4},
    };

    at = (uint32_t)nx_align(at, shapes[type].align);
    *end = at + shapes[type].size;
    return at;
}

enum nx_lane nx_message_lane(enum nx_kind kind)
{
    const struct nx_schema *schema = nx_schema((unsigned)kind);

    return schema == NULL ? NX_LANE_BY_KIND : schema->lane;
}

const char *nx_message_name(enum nx_kind kind)
{
    const struct nx_schema *schema = nx_schema((unsigned)kind);

    return schema == NULL ? "?" : schema->name;
}

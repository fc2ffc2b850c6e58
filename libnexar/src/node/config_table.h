/* node/config_table.h - the table of settings: what is known about each. */
#ifndef NX_NODE_CONFIG_TABLE_H
#define NX_NODE_CONFIG_TABLE_H

#include "nexar/config.h"

enum nx_setting_kind {
    NX_SETTING_RANK,       /* uint32_t, the number + 1 */
    NX_SETTING_NUMBER,     /* uint32_t */
    NX_SETTING_COUNT,      /* uint64_t */
    NX_SETTING_BYTES,      /* uint64_t */
    NX_SETTING_SPAN,       /* int64_t, nanoseconds */
    NX_SETTING_TEXT,       /* char *, owned */
    NX_SETTING_SECRET,     /* char *, owned; never shown */
    NX_SETTING_TRANSPORTS, /* char *, owned */
    NX_SETTING_CHOICE,     /* uint32_t: the place of the word in `range`, which is "one|two|three" */
    NX_SETTING_ELSEWHERE,  /* read by somebody else; only checked, if it has a choice */
};

struct nx_setting {
    const char *name; /* "config." and the field of nexar_config; "" if it has none */
    const char *variable;
    const char *unit;
    const char *fallback; /* read as if it were the variable's value; "" for texts and numbers that are not set */
    const char *range;    /* "least..most" for numbers, "one|two" for choices, else words */
    const char *help;
    enum nx_setting_kind kind;
    uint16_t caller_at; /* offset in nexar_config */
    uint16_t at;        /* offset in struct nx_config */
};

extern const struct nx_setting nx_settings[];
extern const size_t nx_setting_count;

#endif

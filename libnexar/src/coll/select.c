/* coll/select.c - chooses by the rules, those of the user first, and parses the latter.
 *
 * Owner: whoever owns the nx_select; constant after init.  It does not read the environment and does not know the
 * transports. */
#include "coll/select.h"

#include "base/bytes.h"
#include "coll/table.h"

#include <stdio.h>
#include <string.h>

#define KiB UINT64_C(1024)
#define MiB (1024 * KiB)

/* --- Parsing ------------------------------------------------------------------------------------------------------ */

/* A part of the string, not terminated. */
struct part {
    const char *at;
    size_t length;
};

static struct part cut(const char *at, const char *end)
{
    return (struct part){.at = at, .length = (size_t)(end - at)};
}

/* The part up to the next `mark` or the end; moves `rest` behind the mark.  False if there is no mark. */
static bool next_part(struct part *rest, char mark, struct part *out)
{
    const char *found = memchr(rest->at, mark, rest->length);

    if (found == NULL) {
        *out = *rest;
        *rest = cut(rest->at + rest->length, rest->at + rest->length);
        return false;
    }
    *out = cut(rest->at, found);
    *rest = cut(found + 1, rest->at + rest->length);
    return true;
}

static bool is(struct part part, const char *word)
{
    return strlen(word) == part.length && memcmp(word, part.at, part.length) == 0;
}

static nexar_status fail(struct part rule, struct part part, const char *reason)
{
    return nx_fail(NEXAR_ECONFIG, "NEXAR_COLL_TUNE: in \"%.*s\": \"%.*s\" %s", (int)rule.length, rule.at,
                   (int)part.length, part.at, reason);
}

static bool parse_size(struct part text, uint64_t *out)
{
    uint64_t value = 0;
    uint64_t unit = 1;
    size_t digits = text.length;

    if (digits > 0) {
        char last = text.at[digits - 1];

        unit = last == 'k' ? KiB : last == 'm' ? MiB : last == 'g' ? KiB * MiB : 1;
        digits -= unit != 1;
    }
    if (digits == 0)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.at[i] - '0'), &value))
            return false;
    }
    return !__builtin_mul_overflow(value, unit, out);
}

/* Adds the names that would have been right: of the collectives (coll < 0), or of the algorithms of one. */
static void list_names(int coll, char *text, size_t cap)
{
    size_t names = coll < 0 ? NX_COLLS : nx_algorithm_named;
    const char *separator = ": ";

    for (size_t i = 0; i < names; i++) {
        size_t at = strlen(text);

        if (coll >= 0 && nx_algorithms[i].coll != (enum nx_coll)coll)
            continue;
        snprintf(text + at, cap - at, "%s%s", separator,
                 coll < 0 ? nx_coll_name((enum nx_coll)i) : nx_algorithms[i].name);
        separator = ", ";
    }
}

static nexar_status parse_algorithm(struct part rule, struct part coll, struct part name,
                                    const struct nx_algorithm **out)
{
    char reason[320];
    int found = -1;

    for (int i = 0; i < NX_COLLS; i++)
        if (is(coll, nx_coll_name((enum nx_coll)i)))
            found = i;
    for (size_t i = 0; i < nx_algorithm_named; i++)
        if (found >= 0 && nx_algorithms[i].coll == (enum nx_coll)found && is(name, nx_algorithms[i].name)) {
            *out = &nx_algorithms[i];
            return NEXAR_OK;
        }
    snprintf(reason, sizeof(reason), "%s", found < 0 ? "is no collective" : "is none of its algorithms");
    list_names(found, reason, sizeof(reason));
    return fail(rule, found < 0 ? coll : name, reason);
}

static nexar_status parse_rule(struct part text, struct nx_rule *out)
{
    struct part rest = text;
    struct part coll;
    struct part range;
    struct part from;
    nexar_status st;

    *out = (struct nx_rule){.min_n = 1, .max_n = UINT32_MAX, .max_bytes = UINT64_MAX};
    if (!next_part(&rest, ':', &coll) || !next_part(&rest, ':', &range))
        return fail(text, text, "is not of the form collective:from-to:algorithm");
    st = parse_algorithm(text, coll, rest, &out->algorithm);
    if (st != NEXAR_OK)
        return st;
    if (!next_part(&range, '-', &from))
        return fail(text, from, "is no range of sizes (from-to, or from- for all above)");
    if (!parse_size(from, &out->min_bytes))
        return fail(text, from, "is no size (digits, then k, m, g or nothing)");
    if (range.length != 0 && !parse_size(range, &out->max_bytes))
        return fail(text, range, "is no size (digits, then k, m, g or nothing)");
    if (out->min_bytes > out->max_bytes)
        return fail(text, range, "ends the range before it begins");
    return NEXAR_OK;
}

/* --- The table in force ------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t digest, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        digest = (digest ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return digest;
}

/* Of names and numbers, so that it is the same on every machine. */
static uint64_t digest_of(const struct nx_select *select)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < select->count; i++) {
        const struct nx_rule *rule = &select->rules[i];
        const uint64_t numbers[] = {
            rule->min_n, rule->max_n, rule->min_bytes, rule->max_bytes, rule->algorithm->segment, rule->where};

        digest = mix(digest, nx_coll_name(rule->algorithm->coll), strlen(nx_coll_name(rule->algorithm->coll)) + 1);
        digest = mix(digest, rule->algorithm->name, strlen(rule->algorithm->name) + 1);
        for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
            uint8_t bytes[8];

            nx_store64(bytes, numbers[k]);
            digest = mix(digest, bytes, sizeof(bytes));
        }
    }
    return digest;
}

nexar_status nx_select_init(struct nx_select *select, const char *tune, bool reproducible)
{
    struct part rest = {.at = tune, .length = tune == NULL ? 0 : strlen(tune)};
    bool more = rest.length != 0;

    *select = (struct nx_select){0};
    while (more) {
        struct nx_rule rule;
        struct part text;
        nexar_status st;

        more = next_part(&rest, ',', &text);
        st = parse_rule(text, &rule);
        if (st != NEXAR_OK)
            return st;
        if (reproducible && !rule.algorithm->by_rank)
            return fail(text, cut(text.at + text.length - strlen(rule.algorithm->name), text.at + text.length),
                        "does not sum in the order of ranks, which NEXAR_REPRODUCIBLE asks for");
        if (select->count == NX_RULES_LIMIT - nx_rule_count)
            return nx_fail(NEXAR_ECONFIG, "NEXAR_COLL_TUNE: more than %zu rules", select->count);
        select->rules[select->count++] = rule;
        select->tuned++;
    }
    for (size_t i = 0; i < nx_rule_count; i++)
        if (!reproducible || nx_rules[i].algorithm->by_rank)
            select->rules[select->count++] = nx_rules[i];
    select->digest = digest_of(select);
    return NEXAR_OK;
}

static const struct nx_rule *first_rule(const struct nx_select *select, enum nx_coll coll, uint32_t n, uint64_t nbytes,
                                        unsigned where)
{
    const struct nx_rule *rule = select->rules;

    while (rule->algorithm->coll != coll || n < rule->min_n || n > rule->max_n || nbytes < rule->min_bytes ||
           nbytes > rule->max_bytes || (where & rule->where) != rule->where)
        rule++;
    return rule;
}

const struct nx_algorithm *nx_select_algorithm(const struct nx_select *select, enum nx_coll coll, uint32_t n,
                                               uint64_t nbytes, unsigned where)
{
    return first_rule(select, coll, n, nbytes, where)->algorithm;
}

const struct nx_algorithm *nx_select_near(const struct nx_select *select, enum nx_coll coll, uint32_t n,
                                          uint64_t nbytes)
{
    const struct nx_rule *rule = first_rule(select, coll, n, nbytes, 0);

    for (size_t i = nx_algorithm_named; i < nx_algorithm_count && (size_t)(rule - select->rules) >= select->tuned;
         i++) {
        if (nx_algorithms[i].coll == coll)
            return &nx_algorithms[i];
    }
    return rule->algorithm;
}

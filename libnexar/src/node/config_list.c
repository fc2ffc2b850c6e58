/* node/config_list.c - what can be set and what is: the table of settings for programs, values for people, and
 * variables that are none of ours.
 *
 * Owner: none, no state.  It changes no setting. */
#include "base/json.h"
#include "base/status.h"
#include "node/config.h"
#include "node/config_table.h"
#include "node/value.h"

#include <stdio.h>
#include <string.h>

static const char *field_name(const struct nx_setting *row)
{
    return row->name[0] == '\0' ? "" : row->name + strlen("config.");
}

nexar_status nexar_config_describe(size_t index, nexar_config_field *out)
{
    uint32_t size = out == NULL ? 0 : out->size;
    const struct nx_setting *row;

    if (size < sizeof(*out))
        return nx_fail(NEXAR_EINVAL, "config_describe: out->size is %u; set it to sizeof(nexar_config_field)", size);
    *out = (nexar_config_field){.size = size};
    if (index >= nx_setting_count)
        return nx_fail(NEXAR_EINVAL, "config_describe: there are %zu settings, no number %zu", nx_setting_count, index);
    row = &nx_settings[index];
    out->name = field_name(row);
    out->variable = row->variable;
    out->unit = row->unit;
    out->fallback = row->fallback;
    out->range = row->range;
    out->help = row->help;
    return NEXAR_OK;
}

/* ---- values ---- */

static void choice_json(const struct nx_setting *row, uint32_t place, struct nx_json *json)
{
    const char *word = row->range;
    char text[32];

    while (place-- > 0)
        word += strcspn(word, "|") + 1;
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(word, "|"), word);
    nx_json_text(json, "value", text);
}

static void value_json(const struct nx_config *config, const struct nx_setting *row, char *const *environment,
                       struct nx_json *json)
{
    const void *field = (const char *)config + row->at;
    const char *text;
    uint32_t narrow;
    uint64_t wide;

    switch (row->kind) {
    case NX_SETTING_RANK:
    case NX_SETTING_NUMBER:
        memcpy(&narrow, field, sizeof(narrow));
        if (narrow == 0)
            nx_json_null(json, "value");
        else
            nx_json_uint(json, "value", row->kind == NX_SETTING_RANK ? narrow - 1 : narrow);
        break;
    case NX_SETTING_COUNT:
    case NX_SETTING_BYTES:
        memcpy(&wide, field, sizeof(wide));
        nx_json_uint(json, "value", wide);
        break;
    case NX_SETTING_SPAN:
        memcpy(&wide, field, sizeof(wide));
        nx_json_seconds(json, "value", (nx_time)wide);
        break;
    case NX_SETTING_TEXT:
    case NX_SETTING_SECRET:
    case NX_SETTING_TRANSPORTS:
        memcpy(&text, field, sizeof(text));
        nx_json_text(json, "value", text != NULL && row->kind == NX_SETTING_SECRET ? "set" : text);
        break;
    case NX_SETTING_CHOICE:
        memcpy(&narrow, field, sizeof(narrow));
        choice_json(row, narrow, json);
        break;
    case NX_SETTING_ELSEWHERE:
        text = nx_variable(environment, row->variable);
        if (text == NULL && row->fallback[0] != '\0')
            text = row->fallback;
        nx_json_text(json, "value", text);
        break;
    }
}

void nx_config_json(const struct nx_config *config, char *const *environment, struct nx_json *json, const char *key)
{
    static const char *const sources[] = {
        [NX_BY_DEFAULT] = "default",
        [NX_BY_ENVIRONMENT] = "environment",
        [NX_BY_CALLER] = "config",
        [NX_BY_MISTAKE] = "wrong",
    };

    nx_json_list(json, key);
    for (size_t i = 0; i < nx_setting_count; i++) {
        const struct nx_setting *row = &nx_settings[i];

        nx_json_object(json, NULL);
        nx_json_text(json, "name", field_name(row));
        nx_json_text(json, "variable", row->variable);
        value_json(config, row, environment, json);
        nx_json_text(json, "unit", row->unit);
        nx_json_text(json, "source", sources[config->source[i]]);
        nx_json_close(json);
    }
    nx_json_close(json);
}

/* ---- variables that are none of ours ---- */

/* The name of a variable of the reference is in the help of what took its place. */
static bool replaces(const struct nx_setting *row, const char *name)
{
    size_t n = strlen(name);
    const char *at = strstr(row->help, name);

    return at != NULL && strcspn(at, " ,)") == n;
}

static const char *nearest_of(const char *name)
{
    size_t letters = strlen(name) - strlen("NEXAR_");
    size_t best = letters < 3 ? 1 : letters / 3; /* more wrong letters than that make another word */
    const char *nearest = NULL;

    for (size_t i = 0; i < nx_setting_count; i++) {
        size_t distance = nx_word_distance(name + strlen("NEXAR_"), nx_settings[i].variable + strlen("NEXAR_"));

        if (replaces(&nx_settings[i], name))
            return nx_settings[i].variable;
        if (distance < best || (distance == best && nearest == NULL)) {
            best = distance;
            nearest = nx_settings[i].variable;
        }
    }
    return nearest;
}

/* Transports read these themselves, by nexar_host.setting. */
static const char *const of_transports[] = {"NEXAR_TCP_TLS", "NEXAR_TCP_STREAMS", "NEXAR_SHM_HEAP"};

static bool is_setting(const char *name)
{
    for (size_t i = 0; i < sizeof(of_transports) / sizeof(of_transports[0]); i++) {
        if (strcmp(of_transports[i], name) == 0)
            return true;
    }
    for (size_t i = 0; i < nx_setting_count; i++) {
        if (strcmp(nx_settings[i].variable, name) == 0)
            return true;
    }
    return false;
}

const char *nx_config_unknown(char *const *environment, size_t *at, char name[64], const char **nearest)
{
    while (environment != NULL && environment[*at] != NULL) {
        const char *text = environment[(*at)++];

        if (strncmp(text, "NEXAR_", 6) != 0)
            continue;
        snprintf(name, 64, "%.*s", (int)strcspn(text, "="), text);
        if (!is_setting(name)) {
            *nearest = nearest_of(name);
            return name;
        }
    }
    return NULL;
}

/* identity/join_string.c - writing and reading join strings.
 *
 * Owner: none, no state.  It resolves no names and knows nobody's environment.  Sentences name the part that is wrong
 * and quote nothing of the string but the names of parameters, since any other piece could be the token in the wrong
 * place. */
#include "identity/join_string.h"

#include "base/mem.h"
#include "base/status.h"
#include "identity/encode.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "nexar://"
#define CA_PREFIX "sha256:"
#define LABEL_LIMIT 63  /* DNS */
#define QUOTED_LIMIT 16 /* longest name of a parameter that is repeated to the user */
#define PORT_LIMIT 5    /* digits */
#define TOKEN_LENGTH NX_BASE64URL_LENGTH(NX_TOKEN_SIZE)
#define CA_LENGTH NX_HEX_LENGTH(NX_SHA256_SIZE)

/* A piece of the string. */
struct text {
    const char *at;
    size_t length;
};

static struct text text_of(const char *at, const char *end)
{
    return (struct text){.at = at, .length = (size_t)(end - at)};
}

static bool is(struct text text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

/* Splits at the first `separator`: what is before it comes back, *rest is what follows.  Without one: all, and an
 * empty rest whose `at` is NULL. */
static struct text cut(struct text text, char separator, struct text *rest)
{
    const char *at = text.length == 0 ? NULL : memchr(text.at, separator, text.length);

    if (at == NULL) {
        *rest = (struct text){0};
        return text;
    }
    *rest = text_of(at + 1, text.at + text.length);
    return text_of(text.at, at);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* NULL, or what is wrong with a host that is not in brackets. */
static const char *fault_of_name(const char *name)
{
    bool numeric = true;
    size_t label = 0;
    struct in_addr v4;

    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '.' && label == 0)
            return "has an empty part";
        label = *p == '.' ? 0 : label + 1;
        if (label > LABEL_LIMIT)
            return "is no host name: a part is too long";
        if (*p != '.' && *p != '-' && *p != '_' && !is_digit(*p) && !is_letter(*p))
            return *p == ':' ? "is ambiguous: IPv6 addresses need brackets" : "has a character that no host name has";
        numeric = numeric && (*p == '.' || is_digit(*p));
    }
    if (name[0] == '\0')
        return "is empty";
    if (numeric && inet_pton(AF_INET, name, &v4) != 1)
        return "is not an IPv4 address";
    return NULL;
}

static const char *fault_of_host(const char *name, bool bracketed)
{
    struct in6_addr v6;

    if (!bracketed)
        return fault_of_name(name);
    if (strchr(name, '%') != NULL)
        return "has a zone (%), which only means something on its own host";
    return inet_pton(AF_INET6, name, &v6) == 1 ? NULL : "is not an IPv6 address";
}

static bool parse_port(struct text text, uint16_t *port)
{
    uint32_t value = 0;

    if (text.length == 0 || text.length > PORT_LIMIT || text.at[0] == '0')
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (!is_digit(text.at[i]))
            return false;
        value = value * 10 + (uint32_t)(text.at[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

static nexar_status parse_host(struct text text, struct nx_join_string *out)
{
    size_t number = out->host_count + 1;
    struct nx_join_host *host;
    struct text name, port;
    bool bracketed = text.length != 0 && text.at[0] == '[';
    const char *fault, *colon;

    if (out->host_count == NX_JOIN_HOSTS)
        return nx_fail(NEXAR_ECONFIG, "join string: more than %d addresses", NX_JOIN_HOSTS);
    host = &out->hosts[out->host_count];
    if (bracketed) {
        name = cut(text_of(text.at + 1, text.at + text.length), ']', &port);
        if (port.at == NULL)
            return nx_fail(NEXAR_ECONFIG, "join string: address %zu has no closing bracket", number);
        if (port.length == 0 || port.at[0] != ':')
            return nx_fail(NEXAR_ECONFIG, "join string: address %zu has no port", number);
        port = text_of(port.at + 1, port.at + port.length);
    } else {
        colon = text.length == 0 ? NULL : memrchr(text.at, ':', text.length);
        if (colon == NULL)
            return nx_fail(NEXAR_ECONFIG, "join string: address %zu has no port", number);
        name = text_of(text.at, colon);
        port = text_of(colon + 1, text.at + text.length);
    }
    if (name.length >= sizeof(host->name))
        return nx_fail(NEXAR_ECONFIG, "join string: the host of address %zu is too long", number);
    memcpy(host->name, name.at, name.length);
    host->name[name.length] = '\0';
    fault = fault_of_host(host->name, bracketed);
    if (fault != NULL)
        return nx_fail(NEXAR_ECONFIG, "join string: the host of address %zu %s", number, fault);
    if (!parse_port(port, &host->port))
        return nx_fail(NEXAR_ECONFIG, "join string: the port of address %zu is not a number from 1 to 65535", number);
    out->host_count++;
    return NEXAR_OK;
}

static nexar_status parse_token(struct text text, struct nx_join_string *out)
{
    if (text.length != TOKEN_LENGTH)
        return nx_fail(NEXAR_ECONFIG, "join string: the token has %zu characters instead of %zu", text.length,
                       (size_t)TOKEN_LENGTH);
    if (!nx_unbase64url(text.at, text.length, out->token, NX_TOKEN_SIZE))
        return nx_fail(NEXAR_ECONFIG, "join string: the token has a character that is wrong there");
    return NEXAR_OK;
}

static nexar_status parse_ca(struct text text, struct nx_join_string *out)
{
    size_t prefix = sizeof(CA_PREFIX) - 1;

    if (text.length < prefix || memcmp(text.at, CA_PREFIX, prefix) != 0)
        return nx_fail(NEXAR_ECONFIG, "join string: ca does not begin with " CA_PREFIX);
    text = text_of(text.at + prefix, text.at + text.length);
    if (text.length != CA_LENGTH)
        return nx_fail(NEXAR_ECONFIG, "join string: ca has %zu digits instead of %zu", text.length, (size_t)CA_LENGTH);
    if (!nx_unhex(text.at, text.length, out->ca_sha256, NX_SHA256_SIZE))
        return nx_fail(NEXAR_ECONFIG, "join string: ca has a character that is no hexadecimal digit");
    return NEXAR_OK;
}

/* A name is repeated to the user only if it can be nothing else than a mistyped name. */
static nexar_status unknown(struct text name, size_t number)
{
    bool quote = name.length != 0 && name.length <= QUOTED_LIMIT;

    for (size_t i = 0; quote && i < name.length; i++)
        quote = is_letter(name.at[i]) || name.at[i] == '_' || name.at[i] == '-';
    if (quote)
        return nx_fail(NEXAR_ECONFIG, "join string: unknown parameter \"%.*s\"; there are token, ca and host",
                       (int)name.length, name.at);
    return nx_fail(NEXAR_ECONFIG, "join string: parameter %zu is unknown; there are token, ca and host", number);
}

static nexar_status parse_parameters(struct text rest, struct nx_join_string *out)
{
    bool have_token = false, have_ca = false;
    nexar_status status = NEXAR_OK;

    for (size_t number = 1; rest.at != NULL && status == NEXAR_OK; number++) {
        struct text value, name = cut(cut(rest, '&', &rest), '=', &value);

        if (value.at == NULL)
            return nx_fail(NEXAR_ECONFIG, "join string: parameter %zu has no value", number);
        if (is(name, "host")) {
            status = parse_host(value, out);
        } else if (is(name, "token")) {
            if (have_token)
                return nx_fail(NEXAR_ECONFIG, "join string: two tokens");
            have_token = true;
            status = parse_token(value, out);
        } else if (is(name, "ca")) {
            if (have_ca)
                return nx_fail(NEXAR_ECONFIG, "join string: two values of ca");
            have_ca = true;
            status = parse_ca(value, out);
        } else {
            status = unknown(name, number);
        }
    }
    if (status != NEXAR_OK)
        return status;
    if (!have_token)
        return nx_fail(NEXAR_ECONFIG, "join string: the token is missing (token=...)");
    if (!have_ca)
        return nx_fail(NEXAR_ECONFIG, "join string: the fingerprint of the CA is missing (ca=" CA_PREFIX
                                      "...), without which the seed could be anybody; was "
                                      "the string cut at a & because it was not quoted?");
    return NEXAR_OK;
}

static nexar_status parse(const char *text, struct nx_join_string *out)
{
    size_t length = strnlen(text, NX_JOIN_STRING_LIMIT + 1);
    struct text authority, parameters;
    nexar_status status;

    if (length == 0)
        return nx_fail(NEXAR_ECONFIG, "join string: it is empty");
    if (length > NX_JOIN_STRING_LIMIT)
        return nx_fail(NEXAR_ECONFIG, "join string: longer than %d characters", NX_JOIN_STRING_LIMIT);
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return nx_fail(NEXAR_ECONFIG, "join string: character %zu is a space, a line end or no ASCII", i + 1);
    if (strncmp(text, SCHEME, sizeof(SCHEME) - 1) != 0)
        return nx_fail(NEXAR_ECONFIG, "join string: it does not begin with " SCHEME);
    text += sizeof(SCHEME) - 1;
    authority = cut(text_of(text, text + strlen(text)), '?', &parameters);
    if (parameters.at == NULL)
        return nx_fail(NEXAR_ECONFIG, "join string: nothing after the address (?token=...&ca=" CA_PREFIX "...)");
    if (memchr(authority.at, '/', authority.length) != NULL)
        return nx_fail(NEXAR_ECONFIG, "join string: a / where the address ends");
    status = parse_host(authority, out);
    return status == NEXAR_OK ? parse_parameters(parameters, out) : status;
}

nexar_status nx_join_string_parse(const char *text, struct nx_join_string *out)
{
    nexar_status status;

    memset(out, 0, sizeof(*out));
    status = parse(text, out);
    if (status != NEXAR_OK)
        explicit_bzero(out, sizeof(*out));
    return status;
}

nexar_status nx_token_make(uint8_t token[NX_TOKEN_SIZE])
{
    return nx_random(token, NX_TOKEN_SIZE);
}

static size_t format_host(const struct nx_join_host *host, char *out, size_t room)
{
    bool bracketed = strchr(host->name, ':') != NULL;

    return (size_t)snprintf(out, room, bracketed ? "[%s]:%u" : "%s:%u", host->name, (unsigned)host->port);
}

nexar_status nx_join_string_format(const struct nx_join_string *join, char **out)
{
    char token[TOKEN_LENGTH + 1], ca[CA_LENGTH + 1];
    char *text, *at, *end;

    *out = NULL;
    if (join->host_count == 0 || join->host_count > NX_JOIN_HOSTS)
        return nx_fail(NEXAR_EINVAL, "a join string has 1 to %d addresses, not %zu", NX_JOIN_HOSTS, join->host_count);
    for (size_t i = 0; i < join->host_count; i++) {
        const char *name = join->hosts[i].name;
        const char *fault = fault_of_host(name, strchr(name, ':') != NULL);

        if (fault != NULL || join->hosts[i].port == 0)
            return nx_fail(NEXAR_EINVAL, "\"%s\", port %u: the host %s", name, (unsigned)join->hosts[i].port,
                           fault == NULL ? "needs a port" : fault);
    }
    text = nx_alloc(NX_JOIN_STRING_LIMIT + 1);
    if (text == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a join string");
    nx_base64url(join->token, NX_TOKEN_SIZE, token);
    nx_hex(join->ca_sha256, NX_SHA256_SIZE, ca);
    end = text + NX_JOIN_STRING_LIMIT + 1;
    at = text + sprintf(text, SCHEME);
    at += format_host(&join->hosts[0], at, (size_t)(end - at));
    at += snprintf(at, (size_t)(end - at), "?token=%s&ca=" CA_PREFIX "%s", token, ca);
    for (size_t i = 1; i < join->host_count; i++) {
        at += snprintf(at, (size_t)(end - at), "&host=");
        at += format_host(&join->hosts[i], at, (size_t)(end - at));
    }
    explicit_bzero(token, sizeof(token));
    *out = text;
    return NEXAR_OK;
}

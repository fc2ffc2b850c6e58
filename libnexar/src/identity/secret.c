/* identity/secret.c - judging and taking in a shared secret.
 *
 * Owner: none, no state; the secret itself is wiped as soon as the key is made from it.  It does not read the
 * environment: that is the configuration's task. */
#include "identity/secret.h"

#include "base/mem.h"
#include "base/status.h"
#include "identity/private_file.h"

#include <string.h>

#define BITS 128
#define DIFFERENT 6 /* characters */

enum {
    DIGIT = 1,
    LOWER_HEX = 2,
    UPPER_HEX = 4,
    LOWER = 8,
    UPPER = 16,
    BASE64 = 32,
    PRINTABLE = 64,
    BYTE = 128,
};

static unsigned kind_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return DIGIT;
    if (c >= 'a' && c <= 'z')
        return c <= 'f' ? LOWER_HEX : LOWER;
    if (c >= 'A' && c <= 'Z')
        return c <= 'F' ? UPPER_HEX : UPPER;
    if (c == '+' || c == '/' || c == '-' || c == '_' || c == '=')
        return BASE64;
    return c >= ' ' && c <= '~' ? PRINTABLE : BYTE;
}

/* Thousandths of bits in a character drawn from the narrowest set that holds all kinds seen. */
static size_t bits_of(unsigned kinds)
{
    static const struct {
        unsigned kinds;
        size_t bits;
    } sets[] = {
        {DIGIT, 3322},
        {DIGIT | LOWER_HEX, 4000},
        {DIGIT | UPPER_HEX, 4000},
        {LOWER_HEX | LOWER, 4700},
        {UPPER_HEX | UPPER, 4700},
        {DIGIT | LOWER_HEX | LOWER, 5170},
        {DIGIT | UPPER_HEX | UPPER, 5170},
        {LOWER_HEX | LOWER | UPPER_HEX | UPPER, 5700},
        {DIGIT | LOWER_HEX | LOWER | UPPER_HEX | UPPER, 5954},
        {DIGIT | LOWER_HEX | LOWER | UPPER_HEX | UPPER | BASE64, 6000},
        {BYTE - 1, 6555},
    };

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
        if ((kinds & ~sets[i].kinds) == 0)
            return sets[i].bits;
    return 8000;
}

static nexar_status judge(const char *source, const uint8_t *bytes, size_t size)
{
    bool seen[256] = {false};
    size_t different = 0, bits;
    unsigned kinds = 0;

    if (size == 0)
        return nx_fail(NEXAR_ECONFIG, "%s is empty", source);
    if (size > NX_SECRET_LIMIT)
        return nx_fail(NEXAR_ECONFIG, "%s has more than %d bytes", source, NX_SECRET_LIMIT);
    for (size_t i = 0; i < size; i++) {
        different += !seen[bytes[i]];
        seen[bytes[i]] = true;
        kinds |= kind_of(bytes[i]);
    }
    bits = size * bits_of(kinds) / 1000;
    if (bits < BITS)
        return nx_fail(NEXAR_ECONFIG,
                       "%s is too weak: %zu characters of its kind are at most %zu bits, %d are needed "
                       "(openssl rand -hex 32 makes a good one)",
                       source, size, bits, BITS);
    if (different < DIFFERENT)
        return nx_fail(NEXAR_ECONFIG,
                       "%s is too weak: it has only %zu different characters (openssl rand -hex 32 makes a good one)",
                       source, different);
    return NEXAR_OK;
}

nexar_status nx_secret_from_bytes(const char *source, const void *bytes, size_t size, struct nx_proof_key *out)
{
    const uint8_t *p = bytes;
    nexar_status status;

    memset(out, 0, sizeof(*out));
    if (size != 0 && p[size - 1] == '\n') {
        size--;
        if (size != 0 && p[size - 1] == '\r')
            size--;
    }
    status = judge(source, p, size);
    return status == NEXAR_OK ? nx_proof_key_from_secret(p, size, out) : status;
}

nexar_status nx_secret_from_file(const char *path, struct nx_proof_key *out)
{
    nexar_status status;
    char *bytes;
    size_t size;

    memset(out, 0, sizeof(*out));
    status = nx_private_file_read(path, NX_SECRET_LIMIT + 2, &bytes, &size); /* a secret and its line end */
    if (status == NEXAR_OK)
        status = nx_secret_from_bytes(path, bytes, size, out);
    nx_free_secret(bytes);
    return status;
}

/* base/status.c - names of statuses, data types and operators; the last error of each thread.
 *
 * Owner: the error record is thread-local, the tables are constant.  It does not log and does not decide: whoever
 * notices a failure words it, everybody above passes the status on. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local nexar_error last_error = {.size = sizeof(nexar_error), .peer = NEXAR_NO_RANK};

static void set(nexar_error *error, nexar_status status, uint32_t peer, const char *format, va_list args)
{
    char text[sizeof(error->text)]; /* the arguments may be in the record that is about to be overwritten */

    vsnprintf(text, sizeof(text), format, args);
    *error = (nexar_error){.size = sizeof(*error), .status = status, .peer = peer};
    memcpy(error->text, text, sizeof(text));
}

nexar_status nx_fail(nexar_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set(&last_error, status, NEXAR_NO_RANK, format, args);
    va_end(args);
    return status;
}

nexar_status nx_fail_peer(nexar_status status, uint32_t peer, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set(&last_error, status, peer, format, args);
    va_end(args);
    return status;
}

void nx_error_set(nexar_error *error, nexar_status status, uint32_t peer, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return;
    va_start(args, format);
    set(error, status, peer, format, args);
    va_end(args);
}

void nx_error_hint(nexar_error *error, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return;
    va_start(args, format);
    vsnprintf(error->hint, sizeof(error->hint), format, args);
    va_end(args);
}

nexar_error *nx_last_error(void)
{
    return &last_error;
}

nexar_status nx_fail_with(const nexar_error *error)
{
    if (error != &last_error)
        last_error = *error;
    return last_error.status;
}

nexar_status nx_error_copy(nexar_error *to, const nexar_error *from)
{
    uint32_t size;

    if (to == NULL || to->size < sizeof(nexar_error))
        return NEXAR_EINVAL;
    size = to->size;
    *to = *from;
    to->size = size;
    return NEXAR_OK;
}

const char *nexar_last_error(void)
{
    return last_error.text;
}

nexar_status nexar_last_error_info(nexar_error *out)
{
    return nx_error_copy(out, &last_error);
}

const char *nexar_status_name(nexar_status status)
{
    switch (status) {
#define XX(name, value, text) \
    case NEXAR_##name:        \
        return #name;
        NEXAR_STATUS_MAP(XX)
#undef XX
    }
    return "?";
}

const char *nexar_status_text(nexar_status status)
{
    switch (status) {
#define XX(name, value, text) \
    case NEXAR_##name:        \
        return text;
        NEXAR_STATUS_MAP(XX)
#undef XX
    }
    return "?";
}

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [NEXAR_FLOAT32] = {"float32", 4},   [NEXAR_FLOAT64] = {"float64", 8}, [NEXAR_FLOAT16] = {"float16", 2},
    [NEXAR_BFLOAT16] = {"bfloat16", 2}, [NEXAR_INT8] = {"int8", 1},       [NEXAR_INT32] = {"int32", 4},
    [NEXAR_INT64] = {"int64", 8},       [NEXAR_UINT8] = {"uint8", 1},     [NEXAR_UINT32] = {"uint32", 4},
    [NEXAR_UINT64] = {"uint64", 8},     [NEXAR_INT16] = {"int16", 2},     [NEXAR_UINT16] = {"uint16", 2},
    [NEXAR_BOOL] = {"bool", 1},
};

static const char *const ops[] = {
    [NEXAR_SUM] = "sum", [NEXAR_PROD] = "prod", [NEXAR_MIN] = "min", [NEXAR_MAX] = "max",
    [NEXAR_AVG] = "avg", [NEXAR_BAND] = "band", [NEXAR_BOR] = "bor", [NEXAR_BXOR] = "bxor",
};

size_t nexar_dtype_size(nexar_dtype dtype)
{
    return (size_t)dtype < sizeof(dtypes) / sizeof(dtypes[0]) ? dtypes[dtype].size : 0;
}

const char *nexar_dtype_name(nexar_dtype dtype)
{
    return (size_t)dtype < sizeof(dtypes) / sizeof(dtypes[0]) ? dtypes[dtype].name : "?";
}

const char *nexar_reduce_op_name(nexar_reduce_op op)
{
    return (size_t)op < sizeof(ops) / sizeof(ops[0]) ? ops[op] : "?";
}

/* vectors.c - reader of the files under tests/vectors/.
 *
 * Keeps the whole file as one text and points into it.  It knows nothing of what the values mean. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void die(const char *what, const char *where)
{
    fprintf(stderr, "vectors: %s: %s\n", what, where);
    exit(1);
}

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    long size;
    char *text;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0)
        die("cannot read", path);
    rewind(f);
    text = malloc((size_t)size + 1);
    if (text == NULL || fread(text, 1, (size_t)size, f) != (size_t)size)
        die("cannot read", path);
    fclose(f);
    text[size] = '\0';
    return text;
}

static void take_line(struct vectors *v, char *line)
{
    struct vector *last = v->n == 0 ? NULL : &v->cases[v->n - 1];
    char *equals = strstr(line, " =");

    if (strncmp(line, "case ", 5) == 0) {
        struct vector_line *after = last == NULL ? v->lines : last->lines + last->n;
        v->cases[v->n++] = (struct vector){.name = line + 5, .lines = after};
    } else if (last == NULL || equals == NULL) {
        die("not a line of a case", line);
    } else {
        *equals = '\0';
        last->lines[last->n++] = (struct vector_line){.key = line, .value = equals + 2 + (equals[2] == ' ')};
    }
}

struct vectors vectors_load(const char *name)
{
    struct vectors v = {0};
    char path[4096];
    size_t lines = 1;

    snprintf(path, sizeof(path), "%s/%s", NEXAR_VECTORS_DIR, name);
    v.text = read_all(path);
    for (const char *p = v.text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    v.lines = calloc(lines, sizeof(*v.lines));
    v.cases = calloc(lines, sizeof(*v.cases));
    if (v.lines == NULL || v.cases == NULL)
        die("out of memory", path);
    for (char *line = v.text, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (line[0] != '\0' && line[0] != '#')
            take_line(&v, line);
    }
    if (v.n == 0)
        die("no cases", path);
    return v;
}

void vectors_free(struct vectors *v)
{
    free(v->cases);
    free(v->lines);
    free(v->text);
    *v = (struct vectors){0};
}

const char *vector_get(const struct vector *v, const char *key)
{
    for (size_t i = 0; i < v->n; i++) {
        if (strcmp(v->lines[i].key, key) == 0)
            return v->lines[i].value;
    }
    return NULL;
}

uint8_t *vector_hex(const char *hex, size_t *n)
{
    size_t len = strlen(hex) / 2;
    uint8_t *out = malloc(len == 0 ? 1 : len);

    if (out == NULL || strlen(hex) % 2 != 0)
        die("not hex", hex);
    for (size_t i = 0; i < len; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        char *end;
        out[i] = (uint8_t)strtoul(pair, &end, 16);
        if (*end != '\0')
            die("not hex", hex);
    }
    *n = len;
    return out;
}

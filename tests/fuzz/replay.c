/* replay.c - runs a fuzz target on the files of folders, so that what was found once is tested with every compiler. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Each input has memory of exactly its size. */
static int run_file(const char *path)
{
    struct stat st;
    uint8_t *data;
    FILE *f = fopen(path, "rb");
    size_t n;

    if (f == NULL || fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        if (f != NULL)
            fclose(f);
        return 0;
    }
    n = (size_t)st.st_size;
    data = malloc(n);
    if ((data == NULL && n != 0) || fread(data, 1, n, f) != n) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    fclose(f);
    printf("%s\n", path);
    fflush(stdout); /* the last line names the input that ended the program */
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        struct dirent *entry;

        while (folder != NULL && (entry = readdir(folder)) != NULL) {
            char path[4096];
            snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            total += run_file(path);
        }
        if (folder != NULL)
            closedir(folder);
    }
    printf("%d inputs\n", total);
    return total == 0; /* nothing to run is a mistake in the call */
}

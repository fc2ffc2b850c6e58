/* base/version.c - which library this is: its release and its binary interface.
 *
 * Owner: nobody, all are constants.  The release is the one of CMakeLists.txt, which gives it to the compiler; it does
 * not say how the library was configured. */
#include "nexar/nexar.h"

#include <string.h>

uint32_t nexar_abi_version(void)
{
    return NEXAR_ABI_VERSION;
}

const char *nexar_version(void)
{
    return NX_VERSION;
}

size_t nexar_struct_size(const char *name)
{
    static const struct {
        const char *name;
        size_t size;
    } structs[] = {
#define SIZE(type) {#type, sizeof(type)}
        SIZE(nexar_call_opts), SIZE(nexar_compression), SIZE(nexar_config), SIZE(nexar_config_field),
        SIZE(nexar_error),     SIZE(nexar_ext_key),     SIZE(nexar_iov),    SIZE(nexar_recv_info),
        SIZE(nexar_vector),    SIZE(nexar_algorithm),   SIZE(nexar_gate),   SIZE(nexar_watch),
        SIZE(nexar_prepared),  SIZE(nexar_failure),     SIZE(nexar_agreed), SIZE(nexar_request_info),
#undef SIZE
    };

    for (size_t i = 0; name != NULL && i < sizeof(structs) / sizeof(structs[0]); i++) {
        if (strcmp(name, structs[i].name) == 0)
            return structs[i].size;
    }
    return 0;
}

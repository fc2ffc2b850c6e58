/* base/version.c - which library this is: its release and its binary interface.
 *
 * Owner: nobody, both are constants.  The release is the one of CMakeLists.txt, which gives it to the compiler; it does
 * not say how the library was configured. */
#include "nexar/base.h"

uint32_t nexar_abi_version(void)
{
    return NEXAR_ABI_VERSION;
}

const char *nexar_version(void)
{
    return NX_VERSION;
}

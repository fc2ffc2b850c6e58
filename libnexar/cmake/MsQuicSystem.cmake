# MsQuic and OpenSSL as they are installed on this system.

include_guard(GLOBAL)
include(CheckSourceCompiles)
include(CMakePushCheckState)

# Links ${target} to them, or stops with what is missing and how to get it.
function(nexar_find_msquic target)
    find_package(msquic CONFIG QUIET)
    if(TARGET msquic::msquic)
        set(msquic msquic::msquic)
    else()
        # Microsoft's packages have no CMake files, and some no unversioned name.
        find_library(MSQUIC_LIBRARY NAMES msquic libmsquic.so.2)
        find_path(MSQUIC_INCLUDE_DIR msquic.h)
        mark_as_advanced(MSQUIC_LIBRARY MSQUIC_INCLUDE_DIR)
        if(MSQUIC_LIBRARY AND MSQUIC_INCLUDE_DIR)
            add_library(nexar_system_msquic INTERFACE IMPORTED GLOBAL)
            target_include_directories(nexar_system_msquic SYSTEM INTERFACE "${MSQUIC_INCLUDE_DIR}")
            target_link_libraries(nexar_system_msquic INTERFACE "${MSQUIC_LIBRARY}")
            set(msquic nexar_system_msquic)
        endif()
    endif()
    if(NOT msquic)
        message(FATAL_ERROR "No MsQuic was found.  One of these helps:\n"
            "  apt-get install cargo perl make g++    (libnexar then fetches and builds MsQuic itself)\n"
            "  apt-get install libmsquic libssl-dev   (from Microsoft's package repository, with msquic.h of the same "
            "release in the include path; vcpkg, Alpine and Homebrew have msquic, too)")
    endif()
    find_package(OpenSSL 3.0)
    if(NOT OPENSSL_FOUND)
        message(FATAL_ERROR "NEXAR_MSQUIC=system takes OpenSSL from the system as well, and no OpenSSL >= 3.0 was "
            "found.\n  Debian, Ubuntu:  apt-get install libssl-dev\n  Fedora, RHEL:    dnf install openssl-devel")
    endif()

    cmake_push_check_state(RESET)
    set(CMAKE_REQUIRED_LIBRARIES ${msquic})
    check_source_compiles(C "
        #define QUIC_API_ENABLE_PREVIEW_FEATURES 1
        #include <msquic.h>
        int main(void)
        {
            const QUIC_API_TABLE *api = 0;
            return MsQuicOpenVersion(2, (const void **)&api) != 0 || api->ExecutionCreate == 0;
        }" NEXAR_MSQUIC_HAS_EXECUTION)
    cmake_pop_check_state()
    if(NOT NEXAR_MSQUIC_HAS_EXECUTION)
        message(FATAL_ERROR "The MsQuic of this system is too old: libnexar needs 2.5 or newer, with the execution API "
            "in its header.  -DNEXAR_MSQUIC=bundled builds one that fits.")
    endif()
    target_link_libraries(${target} INTERFACE ${msquic} OpenSSL::SSL OpenSSL::Crypto pthread)
endfunction()

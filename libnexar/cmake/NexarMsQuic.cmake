# Target nexar_msquic: MsQuic and an OpenSSL to make certificates with.
#
#   bundled  MsQuic's own sources, and the OpenSSL inside them, linked statically: libnexar.so needs libc alone.
#   system   both as the distribution ships them, linked dynamically.
#   auto     bundled where cargo is found, else system.

add_library(nexar_msquic INTERFACE)

if(NOT NEXAR_MSQUIC MATCHES "^(auto|bundled|system)$")
    message(FATAL_ERROR "NEXAR_MSQUIC is '${NEXAR_MSQUIC}'; it can be auto, bundled or system")
endif()

set(nexar_msquic_source ${NEXAR_MSQUIC})
if(NEXAR_MSQUIC STREQUAL "auto")
    find_program(NEXAR_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
    if(NEXAR_CARGO)
        set(nexar_msquic_source bundled)
    else()
        set(nexar_msquic_source system)
    endif()
endif()

if(nexar_msquic_source STREQUAL "bundled")
    include(MsQuicBundled)
    nexar_bundle_msquic(nexar_msquic_prefix)
    target_include_directories(nexar_msquic SYSTEM INTERFACE "${nexar_msquic_prefix}/include")
    target_link_libraries(nexar_msquic INTERFACE "${nexar_msquic_prefix}/lib/libmsquic.a" pthread ${CMAKE_DL_LIBS})
else()
    include(MsQuicSystem)
    nexar_find_msquic(nexar_msquic)
endif()
message(STATUS "MsQuic: ${nexar_msquic_source}")

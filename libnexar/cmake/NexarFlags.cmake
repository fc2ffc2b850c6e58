# How our own sources are compiled.  Everything hangs on one target, so that nothing reaches a project that adds us as a
# subdirectory, or one that links to us.

add_library(nexar_flags INTERFACE)
target_compile_features(nexar_flags INTERFACE c_std_11)
target_compile_options(nexar_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wconversion -Wshadow -Wvla>
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> # snprintf cuts texts on purpose
    -fstack-protector-strong -ffunction-sections -fdata-sections
    "-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=") # no path of the machine that builds in what assert prints

# Warnings are errors for those who work on libnexar, not for those who build it with a compiler that we never saw
# (cmake --compile-no-warning-as-error).
if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_COMPILE_WARNING_AS_ERROR)
    set(CMAKE_COMPILE_WARNING_AS_ERROR ON)
endif()

string(REPLACE "," ";" nexar_sanitizers "${NEXAR_SANITIZE}")
if(NEXAR_SANITIZE)
    target_compile_options(nexar_flags INTERFACE
        -fsanitize=${NEXAR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
        -O1) # without it they are several times as slow
    target_link_options(nexar_flags INTERFACE -fsanitize=${NEXAR_SANITIZE})
    # gcc says that ThreadSanitizer does not know fences; those of the engine guard no memory.
    target_compile_options(nexar_flags INTERFACE $<$<C_COMPILER_ID:GNU>:-Wno-tsan>)
endif()

if(NEXAR_FUZZ AND NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "NEXAR_FUZZ needs clang's libFuzzer: configure with CC=clang "
        "(Debian, Ubuntu: apt-get install clang libclang-rt-14-dev)")
endif()
if(NEXAR_FUZZ)
    if(NOT "address" IN_LIST nexar_sanitizers)
        message(FATAL_ERROR "NEXAR_FUZZ finds little without NEXAR_SANITIZE=address,undefined")
    endif()
    target_compile_options(nexar_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

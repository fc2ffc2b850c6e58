# ctest: C tests, fuzz targets, the rules of the house, and what users do with an installed libnexar.
#
# Labels: unit vectors sched simnet net fuzz rules install.  A test that exits with 77 is skipped, and says why.

find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
find_path(CMOCKA_INCLUDE_DIR cmocka.h)
find_library(CMOCKA_LIBRARY cmocka)
mark_as_advanced(CMOCKA_INCLUDE_DIR CMOCKA_LIBRARY)
if(NOT CMOCKA_INCLUDE_DIR OR NOT CMOCKA_LIBRARY)
    message(FATAL_ERROR "The tests need cmocka.\n  Debian, Ubuntu:  apt-get install libcmocka-dev\n"
        "  Fedora, RHEL:    dnf install libcmocka-devel\n(-DNEXAR_BUILD_TESTS=OFF builds the library alone.)")
endif()

set(tests "${PROJECT_SOURCE_DIR}/tests")
set(tools "${PROJECT_SOURCE_DIR}/libnexar/tools")

# ------------------------------------------------------------------------------------------------------------- C tests
# Everything directly in tests/c is shared by the tests; each tests/c/<folder>/test_<name>.c is a program.
file(GLOB kit_sources CONFIGURE_DEPENDS "${tests}/c/*.c")
add_library(nexar_test_kit STATIC ${kit_sources})
target_link_libraries(nexar_test_kit PUBLIC nexar_testing "${CMOCKA_LIBRARY}" m)
target_include_directories(nexar_test_kit PUBLIC "${tests}/c" SYSTEM PUBLIC "${CMOCKA_INCLUDE_DIR}")
target_compile_definitions(nexar_test_kit PUBLIC NEXAR_VECTORS_DIR="${tests}/vectors")
set_target_properties(nexar_test_kit PROPERTIES LINKER_LANGUAGE C)

set(label_of_net_folders quic net comm node)
set(timeout 120)
if("thread" IN_LIST nexar_sanitizers)
    set(timeout 600)
endif()

set(test_environment
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
    "LSAN_OPTIONS=suppressions=${tests}/lsan.txt:print_suppressions=0"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=second_deadlock_stack=1 suppressions=${tests}/tsan.txt")

file(GLOB test_sources CONFIGURE_DEPENDS "${tests}/c/*/test_*.c")
if(NOT TARGET nexar_rdma)
    list(FILTER test_sources EXCLUDE REGEX "/rdma/")
endif()
foreach(source IN LISTS test_sources)
    cmake_path(GET source STEM name)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET folder FILENAME folder)
    if(TARGET ${name}) # the same name in another folder
        string(REPLACE "test_" "test_${folder}_" name "${name}")
    endif()
    if(name MATCHES "vectors")
        set(label vectors)
    elseif(name MATCHES "^test_(sched|simnet)")
        set(label ${CMAKE_MATCH_1})
    elseif(folder IN_LIST label_of_net_folders)
        set(label net)
    else()
        set(label unit)
    endif()
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE nexar_test_kit)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${timeout} SKIP_RETURN_CODE 77
        ENVIRONMENT "${test_environment}")
endforeach()

# Handshakes need no certificates of the system: those are none of our business.  A MsQuic with an OpenSSL of its own
# inside, where nobody else can clear its errors, does need the folder.
if(nexar_msquic_source STREQUAL "bundled")
    set_property(TEST test_handshake APPEND PROPERTY ENVIRONMENT "SSL_CERT_DIR=/nonexistent")
endif()

# One suite for every transport: as test_contract over QUIC, and over the others.
add_library(test_slow_module MODULE "${PROJECT_SOURCE_DIR}/libnexar/examples/module/slow.c")
target_link_libraries(test_slow_module PRIVATE nexar_flags)
target_include_directories(test_slow_module PRIVATE "${PROJECT_SOURCE_DIR}/libnexar/include")
foreach(transport IN ITEMS slow shm tcp)
    set(modules "")
    if(transport STREQUAL "slow")
        set(modules "NEXAR_MODULES=$<TARGET_FILE:test_slow_module>")
    endif()
    add_test(NAME contract_${transport} COMMAND test_contract)
    set_tests_properties(contract_${transport} PROPERTIES LABELS net TIMEOUT ${timeout} SKIP_RETURN_CODE 77
        ENVIRONMENT "${test_environment};NEXAR_TRANSPORTS=${transport};${modules}")
    add_dependencies(test_contract test_slow_module)
endforeach()

if(TARGET nexar_rdma)
    include(NexarRdmaTests)
endif()

# What tests/rdma/run.sh runs in its virtual machine: the suite, shortened, and a rank of its jobs.
add_executable(rdma_contract "${tests}/c/net/test_contract.c")
target_link_libraries(rdma_contract PRIVATE nexar_test_kit)
target_compile_definitions(rdma_contract PRIVATE JOB_IS_SHORT)
add_executable(rdma_rank "${tests}/rdma/rank.c")
target_link_libraries(rdma_rank PRIVATE nexar::nexar nexar_flags)
target_compile_definitions(rdma_rank PRIVATE _GNU_SOURCE)

# The membership machine and its reference in Python see the same world: their runs are compared line by line.
add_executable(membership_play "${tests}/membership/play.c")
target_link_libraries(membership_play PRIVATE nexar_test_kit)
add_test(NAME membership_twin
    COMMAND Python3::Interpreter "${tests}/membership/twin.py" "$<TARGET_FILE:membership_play>")
set_tests_properties(membership_twin PROPERTIES LABELS simnet TIMEOUT 900
    ENVIRONMENT "${test_environment};PYTHONDONTWRITEBYTECODE=1")
# Many times as many seeds in the long form.
set_tests_properties(test_simnet_members test_simnet_relay PROPERTIES TIMEOUT 900)

# The kernels for ARM, on any machine.
add_test(NAME neon COMMAND Python3::Interpreter "${tests}/aarch64/check_neon.py")
set_tests_properties(neon PROPERTIES LABELS unit TIMEOUT 300 SKIP_RETURN_CODE 77)

# ---------------------------------------------------------------------------------------------------------------- fuzz
# tests/fuzz/fuzz_<name>.c with its corpus in tests/fuzz/corpus/<name>/.  Without libFuzzer, replay.c stands in for it.
file(GLOB fuzz_sources CONFIGURE_DEPENDS "${tests}/fuzz/fuzz_*.c")
foreach(source IN LISTS fuzz_sources)
    cmake_path(GET source STEM name)
    string(REPLACE "fuzz_" "" corpus "${name}")
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE nexar_test_kit)
    if(NEXAR_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        add_test(NAME ${name} COMMAND ${name} -runs=50000 -max_total_time=60 -print_final_stats=1
            "${PROJECT_BINARY_DIR}/fuzz/${corpus}" "${tests}/fuzz/corpus/${corpus}")
        file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz/${corpus}") # where new inputs go
    else()
        target_sources(${name} PRIVATE "${tests}/fuzz/replay.c")
        add_test(NAME ${name} COMMAND ${name} "${tests}/fuzz/corpus/${corpus}")
    endif()
    set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 300 ENVIRONMENT "${test_environment}")
endforeach()

# --------------------------------------------------------------------------------------------------------------- rules
function(nexar_rule name)
    add_test(NAME ${name} COMMAND Python3::Interpreter "${tools}/check_${name}.py" ${ARGN})
    set_tests_properties(${name} PROPERTIES LABELS rules TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()
nexar_rule(layers)
nexar_rule(size)
nexar_rule(text)
nexar_rule(format)
nexar_rule(headers --cc "${CMAKE_C_COMPILER}")

# Sanitized libraries export and need more by nature, and no user installs one.
if(NOT NEXAR_SANITIZE)
    set(modules "")
    if(TARGET nexar_rdma)
        set(modules --module "$<TARGET_FILE:nexar_rdma>")
    endif()
    nexar_rule(exports --library "$<TARGET_FILE:nexar>" --msquic ${nexar_msquic_source} ${modules})
    add_test(NAME install COMMAND Python3::Interpreter "${tests}/install/check_install.py"
        --build "${PROJECT_BINARY_DIR}" --cmake "${CMAKE_COMMAND}" --cc "${CMAKE_C_COMPILER}")
    add_test(NAME subdirectory COMMAND Python3::Interpreter "${tests}/install/check_subdirectory.py"
        --cmake "${CMAKE_COMMAND}" --cc "${CMAKE_C_COMPILER}" --generator "${CMAKE_GENERATOR}"
        --msquic ${nexar_msquic_source} --cache "${NEXAR_MSQUIC_CACHE}")
    set_tests_properties(install subdirectory PROPERTIES LABELS install TIMEOUT 600 SKIP_RETURN_CODE 77)
endif()

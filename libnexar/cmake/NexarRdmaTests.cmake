# ctest: the RDMA module over a libibverbs that is only memory.

file(GLOB fake_sources CONFIGURE_DEPENDS "${tests}/c/rdma/fake_*.c")
add_library(test_fake_verbs MODULE ${fake_sources})
target_link_libraries(test_fake_verbs PRIVATE nexar_flags Threads::Threads)
target_include_directories(test_fake_verbs SYSTEM PRIVATE "${NEXAR_VERBS_INCLUDE_DIR}")
target_compile_definitions(test_fake_verbs PRIVATE _GNU_SOURCE)
set(fake_verbs "NEXAR_RDMA_LIBRARY=$<TARGET_FILE:test_fake_verbs>")

add_test(NAME contract_rdma COMMAND test_contract)
set_tests_properties(contract_rdma PROPERTIES LABELS net TIMEOUT ${timeout} SKIP_RETURN_CODE 77
    ENVIRONMENT "${test_environment};NEXAR_TRANSPORTS=rdma;${fake_verbs}")
add_dependencies(test_contract nexar_rdma test_fake_verbs)

# bench/: nexar-bench, over the public functions alone; nexar-yardstick, the same work on bare MsQuic; and the speed of
# the reduction kernels and of the flight recorder.  None of them is installed.

set(bench "${PROJECT_SOURCE_DIR}/bench/c")

add_library(nexar_bench_result STATIC "${bench}/result.c")
target_link_libraries(nexar_bench_result PRIVATE nexar_flags m)
target_compile_definitions(nexar_bench_result PRIVATE _GNU_SOURCE)

file(GLOB bench_sources CONFIGURE_DEPENDS "${bench}/nexar/*.c")
add_executable(nexar-bench ${bench_sources})
target_link_libraries(nexar-bench PRIVATE nexar_bench_result nexar::nexar nexar_flags m)

file(GLOB yardstick_sources CONFIGURE_DEPENDS "${bench}/yardstick/*.c")
add_executable(nexar-yardstick ${yardstick_sources})
target_link_libraries(nexar-yardstick PRIVATE nexar_bench_result nexar_msquic nexar_flags m)

# Of the flight recorder, which is all in its header.
add_executable(bench-record "${bench}/bench_record.c")
target_link_libraries(bench-record PRIVATE nexar_flags)
target_include_directories(bench-record PRIVATE "${PROJECT_SOURCE_DIR}/libnexar/include" "${src}")

foreach(program IN ITEMS nexar-bench nexar-yardstick bench-record)
    target_include_directories(${program} PRIVATE "${bench}")
    target_compile_definitions(${program} PRIVATE _GNU_SOURCE)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
endforeach()

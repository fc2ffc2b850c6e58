# bench/: nexar-bench, over the public functions alone; nexar-yardstick, the same work on bare MsQuic; and the speed of
# the reduction kernels, of the flight recorder, of pinning memory, of the membership, and of the topologies.  None of
# them is installed.

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

# Of registering memory for RDMA; no card is needed.
add_executable(bench-pin "${bench}/bench_pin.c")
target_link_libraries(bench-pin PRIVATE nexar_flags)

# Of the membership: the machine itself, in virtual time.
add_executable(bench-members "${bench}/bench_members.c" $<TARGET_OBJECTS:nexar_objects>)
target_link_libraries(bench-members PRIVATE nexar_flags nexar_msquic)
target_include_directories(bench-members PRIVATE "${PROJECT_SOURCE_DIR}/libnexar/include" "${src}")
set_target_properties(bench-members PROPERTIES LINKER_LANGUAGE C)

# Of the topologies: the graphs themselves.
add_executable(bench-topology "${bench}/bench_topology.c" $<TARGET_OBJECTS:nexar_objects>)
target_link_libraries(bench-topology PRIVATE nexar_flags nexar_msquic)
target_include_directories(bench-topology PRIVATE "${PROJECT_SOURCE_DIR}/libnexar/include" "${src}")
set_target_properties(bench-topology PROPERTIES LINKER_LANGUAGE C)

# The same work by us and by others: a face is one file.  Those of other libraries are built where these are installed.
file(GLOB face_sources CONFIGURE_DEPENDS "${bench}/faces/*.c")
set(face_nexar "${bench}/faces/nexar.c" "${bench}/nexar/counters.c")
list(REMOVE_ITEM face_sources "${bench}/faces/nexar.c")
add_library(nexar_bench_face OBJECT ${face_sources})
target_link_libraries(nexar_bench_face PRIVATE nexar_flags)
target_include_directories(nexar_bench_face PRIVATE "${bench}")
target_compile_definitions(nexar_bench_face PRIVATE _GNU_SOURCE)

add_executable(face-nexar ${face_nexar} $<TARGET_OBJECTS:nexar_bench_face>)
target_link_libraries(face-nexar PRIVATE nexar_bench_result nexar::nexar nexar_flags m)
file(STRINGS "${PROJECT_SOURCE_DIR}/libnexar/include/nexar/comm.h" face_alloc REGEX "nexar_comm_alloc\\(")
if(face_alloc)
    target_compile_definitions(face-nexar PRIVATE FACE_NEXAR_ALLOC)
endif()

set(peers "${PROJECT_SOURCE_DIR}/bench/peers")
add_executable(face-ssl "${peers}/ssl.c" $<TARGET_OBJECTS:nexar_bench_face>)
target_link_libraries(face-ssl PRIVATE nexar_bench_result nexar_msquic nexar_flags m)

foreach(mpi IN ITEMS openmpi mpich)
    find_program(NEXAR_MPICC_${mpi} mpicc.${mpi})
    if(NEXAR_MPICC_${mpi} AND NOT NEXAR_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
        set(program "${PROJECT_BINARY_DIR}/bench/face-${mpi}")
        add_custom_command(OUTPUT "${program}"
            COMMAND "${NEXAR_MPICC_${mpi}}" -std=gnu11 -O2 -D_GNU_SOURCE "-I${bench}" -o "${program}"
                    "${peers}/mpi.c" ${face_sources} "${bench}/result.c" -lm
            DEPENDS "${peers}/mpi.c" ${face_sources} "${bench}/result.c" "${bench}/result.h" "${bench}/faces/face.h"
            COMMAND_EXPAND_LISTS VERBATIM)
        add_custom_target(face-${mpi} ALL DEPENDS "${program}")
    endif()
endforeach()

foreach(program IN ITEMS nexar-bench nexar-yardstick bench-record bench-pin bench-members bench-topology face-nexar
        face-ssl)
    target_include_directories(${program} PRIVATE "${bench}")
    target_compile_definitions(${program} PRIVATE _GNU_SOURCE)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
endforeach()

# libnexar/modules: transports that are files of their own, since they need what most hosts do not have.  They are
# written against nexar/ext.h alone and link to nothing of ours.

# Those that can be built here.
add_custom_target(nexar_modules)

find_path(NEXAR_VERBS_INCLUDE_DIR infiniband/verbs.h)
mark_as_advanced(NEXAR_VERBS_INCLUDE_DIR)
if(NOT NEXAR_VERBS_INCLUDE_DIR)
    message(STATUS "No infiniband/verbs.h: libnexar_rdma.so is left out.\n"
        "  Debian, Ubuntu:  apt-get install libibverbs-dev\n  Fedora, RHEL:    dnf install rdma-core-devel")
    return()
endif()

# libibverbs itself is opened when a node starts, if the host has a device.
set(modules "${PROJECT_SOURCE_DIR}/libnexar/modules")
find_package(Threads REQUIRED)
file(GLOB nexar_rdma_sources CONFIGURE_DEPENDS "${modules}/rdma/*.c")
add_library(nexar_rdma MODULE ${nexar_rdma_sources})
target_link_libraries(nexar_rdma PRIVATE nexar_flags Threads::Threads ${CMAKE_DL_LIBS})
target_include_directories(nexar_rdma PRIVATE "${PROJECT_SOURCE_DIR}/libnexar/include")
target_include_directories(nexar_rdma SYSTEM PRIVATE "${NEXAR_VERBS_INCLUDE_DIR}")
target_compile_definitions(nexar_rdma PRIVATE _GNU_SOURCE)
target_link_options(nexar_rdma PRIVATE
    "LINKER:--version-script=${modules}/module.map" LINKER:--gc-sections LINKER:-z,relro,-z,now)
if(NOT NEXAR_SANITIZE)
    target_link_options(nexar_rdma PRIVATE LINKER:-z,defs)
endif()
set_target_properties(nexar_rdma PROPERTIES
    C_VISIBILITY_PRESET hidden LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}" LINK_DEPENDS "${modules}/module.map")
add_dependencies(nexar_modules nexar_rdma)

# cmake --install: library, headers, pkg-config and CMake files that can be moved with their prefix, licences.
#
# A wheel holds no symbolic links: there the library lies once, under the name that programs load, and libnexar.so, the
# name that linkers look for, is a line of text which points there.

include(CMakePackageConfigHelpers)

set(nexar_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/nexar")
set(nexar_pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
set(nexar_licenses_dir "${CMAKE_INSTALL_DATADIR}/licenses/nexar")

if(SKBUILD)
    set_target_properties(nexar PROPERTIES VERSION ${PROJECT_VERSION_MAJOR})
    file(WRITE "${PROJECT_BINARY_DIR}/wheel/libnexar.so" "INPUT(libnexar.so.${PROJECT_VERSION_MAJOR})\n")
    install(FILES "${PROJECT_BINARY_DIR}/wheel/libnexar.so" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
    set(namelink NAMELINK_SKIP)
endif()
install(TARGETS nexar EXPORT nexar LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ${namelink})
if(TARGET nexar_rdma) # found beside libnexar by itself
    install(TARGETS nexar_rdma LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
install(FILES ${nexar_headers} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/nexar")

install(EXPORT nexar NAMESPACE nexar:: FILE nexarTargets.cmake DESTINATION "${nexar_cmake_dir}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/nexarConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/nexarConfig.cmake" INSTALL_DESTINATION "${nexar_cmake_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/nexarConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/nexarConfig.cmake" "${PROJECT_BINARY_DIR}/nexarConfigVersion.cmake"
    DESTINATION "${nexar_cmake_dir}")

# nexar.pc finds its prefix from where it lies itself; folders given as absolute paths stay as given.
cmake_path(ABSOLUTE_PATH nexar_pkgconfig_dir BASE_DIRECTORY /prefix OUTPUT_VARIABLE pc_dir)
cmake_path(RELATIVE_PATH pc_dir BASE_DIRECTORY /prefix OUTPUT_VARIABLE pc_dir)
string(REGEX REPLACE "[^/]+" ".." pc_prefix "${pc_dir}")
set(pc_prefix "\${pcfiledir}/${pc_prefix}")
foreach(dir IN ITEMS LIBDIR INCLUDEDIR)
    set(pc_${dir} "${CMAKE_INSTALL_${dir}}")
    cmake_path(IS_ABSOLUTE pc_${dir} absolute)
    if(NOT absolute)
        string(PREPEND pc_${dir} "\${prefix}/")
    endif()
endforeach()
configure_file("${CMAKE_CURRENT_LIST_DIR}/nexar.pc.in" "${PROJECT_BINARY_DIR}/nexar.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/nexar.pc" DESTINATION "${nexar_pkgconfig_dir}")

install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${nexar_licenses_dir}")
if(nexar_msquic_source STREQUAL "bundled")
    install(DIRECTORY "${nexar_msquic_prefix}/licenses/" DESTINATION "${nexar_licenses_dir}")
endif()

# MsQuic and the OpenSSL inside it, built from Microsoft's own sources.
#
# cargo fetches the pinned crate (which carries all C sources), the crate's CMakeLists build it, once, and the result is
# kept in a cache outside both trees.  All of it happens while we configure, so that the rest of the build sees a
# finished library and compile checks can use it.

include_guard(GLOBAL)

if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
    set(cache_home "$ENV{XDG_CACHE_HOME}/nexar")
elseif(DEFINED ENV{HOME})
    set(cache_home "$ENV{HOME}/.cache/nexar")
else()
    set(cache_home "${CMAKE_BINARY_DIR}/msquic")
endif()
set(NEXAR_MSQUIC_CACHE "${cache_home}" CACHE PATH "Where finished builds of the bundled MsQuic are kept")

set(msquic_recipe 1) # to be raised when the functions below come to build something else
set(msquic_manifest "${CMAKE_CURRENT_LIST_DIR}/../third_party/msquic")

# Stops with one message that names everything that is missing and the command that installs it.
function(nexar_require_msquic_tools)
    set(debian "")
    set(fedora "")
    find_program(NEXAR_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
    find_program(NEXAR_MAKE make)
    find_program(NEXAR_PERL perl)
    find_program(NEXAR_CXX NAMES ${cxx_names})
    mark_as_advanced(NEXAR_CARGO NEXAR_MAKE NEXAR_PERL NEXAR_CXX)
    if(NOT NEXAR_CARGO)
        list(APPEND debian cargo)
        list(APPEND fedora cargo)
    endif()
    if(NOT NEXAR_MAKE)
        list(APPEND debian make)
        list(APPEND fedora make)
    endif()
    if(NOT NEXAR_CXX)
        list(APPEND debian g++)
        list(APPEND fedora gcc-c++)
    endif()
    # A small installation has perl without the modules that OpenSSL's configure script loads.
    set(perl_status 1)
    if(NEXAR_PERL)
        execute_process(
            COMMAND "${NEXAR_PERL}" -MIPC::Cmd -MFindBin -MFile::Compare -MFile::Copy -MTime::Piece -e1
            RESULT_VARIABLE perl_status OUTPUT_QUIET ERROR_QUIET)
    endif()
    if(NOT perl_status EQUAL 0)
        list(APPEND debian perl)
        list(APPEND fedora perl)
    endif()
    if(debian)
        list(JOIN debian " " debian)
        list(JOIN fedora " " fedora)
        message(FATAL_ERROR "Building the bundled MsQuic needs: ${debian}\n"
            "  Debian, Ubuntu:  apt-get install ${debian}\n"
            "  Fedora, RHEL:    dnf install ${fedora}\n"
            "(-DNEXAR_MSQUIC=system uses a MsQuic and an OpenSSL that are already installed.)")
    endif()
endfunction()

# Fetches the crate and stores the folder of its sources in ${source_var}.
function(nexar_fetch_msquic work source_var)
    file(COPY "${msquic_manifest}/" DESTINATION "${work}/fetch")
    set(environment CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never)
    execute_process(COMMAND "${NEXAR_CARGO}" --version OUTPUT_VARIABLE cargo_version ERROR_QUIET)
    if(cargo_version MATCHES "cargo ([0-9.]+)" AND CMAKE_MATCH_1 VERSION_LESS 1.70)
        # Before 1.70 cargo cloned the whole index of its registry; 1.65 (Debian 12) can do without, but must be told.
        list(APPEND environment RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_SPARSE_REGISTRY=true
            CARGO_REGISTRIES_CRATES_IO_PROTOCOL=sparse)
    endif()
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env ${environment} "${NEXAR_CARGO}" metadata --format-version 1
        WORKING_DIRECTORY "${work}/fetch"
        RESULT_VARIABLE status OUTPUT_VARIABLE metadata ERROR_VARIABLE errors)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "cargo could not fetch MsQuic:\n${errors}\n"
            "It needs the network once.  A very old cargo may fail on newer packages: on Debian 12, "
            "'apt-get install cargo-web' installs a recent one.")
    endif()
    file(STRINGS "${work}/fetch/Cargo.lock" lock)
    if(NOT lock MATCHES "checksum = \"${msquic_checksum}\"")
        message(FATAL_ERROR "cargo fetched a package msquic ${msquic_version} whose checksum is not "
            "${msquic_checksum}, which libnexar/third_party/msquic/Cargo.toml demands.  It was not used.")
    endif()

    string(JSON count LENGTH "${metadata}" packages)
    math(EXPR last "${count} - 1")
    foreach(i RANGE ${last})
        string(JSON name GET "${metadata}" packages ${i} name)
        if(name STREQUAL "msquic")
            string(JSON manifest GET "${metadata}" packages ${i} manifest_path)
            cmake_path(GET manifest PARENT_PATH source)
            # A copy at a path that says nothing of this machine: source paths end up in the library.
            file(COPY "${source}/" DESTINATION "${work}/source")
            set(${source_var} "${work}/source" PARENT_SCOPE)
            return()
        endif()
    endforeach()
    message(FATAL_ERROR "cargo metadata does not list the package msquic")
endfunction()

function(nexar_build_msquic work source)
    set(build "${work}/build")
    set(log "${PROJECT_BINARY_DIR}/msquic-build.log")
    set(flags "${msquic_flags} -ffile-prefix-map=${source}=msquic")
    # OpenSSL bakes the folders of its configuration, engines and modules into the library.  None is used; without these
    # values they would be the ones of the machine that builds, and a program's behaviour would depend on them.
    set(environment
        --unset=CPPFLAGS --unset=CXXFLAGS --unset=LDFLAGS --unset=DESTDIR --unset=CMAKE_TOOLCHAIN_FILE
        SOURCE_DATE_EPOCH=1
        "MAKEFLAGS= OPENSSLDIR=/nonexistent ENGINESDIR=/nonexistent MODULESDIR=/nonexistent")
    if(msquic_flags)
        list(APPEND environment "CFLAGS=-O2 ${msquic_flags}")
    else()
        list(APPEND environment --unset=CFLAGS)
    endif()
    cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)

    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env ${environment}
            "${CMAKE_COMMAND}" -S "${source}" -B "${build}" -G "Unix Makefiles"
            "-DCMAKE_MAKE_PROGRAM=${NEXAR_MAKE}"
            "-DCMAKE_C_COMPILER=${CMAKE_C_COMPILER}" "-DCMAKE_CXX_COMPILER=${NEXAR_CXX}"
            -DCMAKE_BUILD_TYPE=Release "-DCMAKE_C_FLAGS=${flags}" -DCMAKE_C_STANDARD=17
            -DCMAKE_POSITION_INDEPENDENT_CODE=ON
            -DQUIC_TLS_LIB=quictls -DQUIC_BUILD_SHARED=OFF -DQUIC_ENABLE_LOGGING=OFF -DQUIC_EMBED_GIT_HASH=OFF
            ${msquic_options}
            -DNUMA=OFF # with libnuma MsQuic moves its threads to CPUs that the process was not given
        OUTPUT_FILE "${log}" ERROR_FILE "${log}" RESULT_VARIABLE status)
    if(status EQUAL 0)
        execute_process(
            COMMAND "${CMAKE_COMMAND}" -E env ${environment}
                "${CMAKE_COMMAND}" --build "${build}" --parallel ${cores}
            OUTPUT_FILE "${log}.2" ERROR_FILE "${log}.2" RESULT_VARIABLE status)
        file(READ "${log}.2" output)
        file(APPEND "${log}" "${output}")
        file(REMOVE "${log}.2")
    endif()
    if(NOT status EQUAL 0)
        execute_process(COMMAND tail -n 30 "${log}" OUTPUT_VARIABLE tail)
        string(REPLACE "\n" "\n  " tail "${tail}") # or it would be filled like a paragraph
        message(FATAL_ERROR "Building MsQuic failed; the whole log is ${log}\n  ${tail}")
    endif()
endfunction()

# Stores in ${prefix_var} a folder with lib/libmsquic.a, include/ (MsQuic and OpenSSL) and licenses/.
function(nexar_bundle_msquic prefix_var)
    file(READ "${msquic_manifest}/Cargo.toml" manifest)
    string(REGEX MATCH "msquic = \"=([^\"]+)\"" _ "${manifest}")
    set(msquic_version "${CMAKE_MATCH_1}")
    string(REGEX MATCH "checksum = \"([0-9a-f]+)\"" _ "${manifest}")
    set(msquic_checksum "${CMAKE_MATCH_1}")

    # Under AddressSanitizer MsQuic is sanitized, too; its own undefined behaviour is not ours to judge.  Under
    # ThreadSanitizer it is not: it reads flags without a lock all over, and suppressing what has its functions on the
    # stack would suppress our callbacks; its locks and its memory are seen all the same.  Without its pools a late
    # access hits freed memory.
    set(msquic_flags "")
    set(msquic_options "")
    if("address" IN_LIST nexar_sanitizers)
        set(msquic_flags "-fsanitize=address -fno-omit-frame-pointer -g1")
    elseif("thread" IN_LIST nexar_sanitizers)
        set(msquic_flags "-fno-omit-frame-pointer -g1")
    endif()
    if(msquic_flags)
        set(msquic_options -DQUIC_ENABLE_POOL_ALLOC=OFF)
    endif()

    cmake_path(GET CMAKE_C_COMPILER FILENAME cc)
    string(REGEX REPLACE "gcc" "g++" cxx_names "${cc}")
    string(REGEX REPLACE "clang" "clang++" cxx_names "${cxx_names}")
    list(APPEND cxx_names c++ g++ clang++)

    # Whatever changes the result is in the name.
    file(REAL_PATH "${CMAKE_C_COMPILER}" compiler)
    string(SHA256 key
        "${msquic_recipe} ${msquic_checksum} ${msquic_flags} ${compiler} ${CMAKE_SYSTEM_PROCESSOR}")
    string(SUBSTRING "${key}" 0 12 key)
    set(name "msquic-${msquic_version}-${CMAKE_C_COMPILER_ID}-${CMAKE_C_COMPILER_VERSION}-${key}")
    cmake_path(SET prefix NORMALIZE "${NEXAR_MSQUIC_CACHE}/${name}")
    set(${prefix_var} "${prefix}" PARENT_SCOPE)
    if(EXISTS "${prefix}")
        return()
    endif()

    nexar_require_msquic_tools()
    file(MAKE_DIRECTORY "${NEXAR_MSQUIC_CACHE}")
    file(LOCK "${prefix}.lock" GUARD FUNCTION TIMEOUT 1800) # somebody else may be building the same
    if(EXISTS "${prefix}")
        return()
    endif()
    message(STATUS "Building MsQuic ${msquic_version} into ${prefix} (once, about a minute)")
    file(GLOB abandoned "${prefix}.tmp.*") # by a build that was killed; its make may still be at work there
    if(abandoned) # an empty list is an error
        file(REMOVE_RECURSE ${abandoned})
    endif()
    string(RANDOM LENGTH 8 unique)
    set(work "${prefix}.tmp.${unique}")
    nexar_fetch_msquic("${work}" source)
    nexar_build_msquic("${work}" "${source}")

    file(COPY "${work}/build/bin/Release/libmsquic.a" DESTINATION "${work}/prefix/lib")
    file(COPY "${source}/src/inc/msquic.h" "${source}/src/inc/msquic_posix.h" "${source}/src/inc/quic_sal_stub.h"
        "${work}/build/_deps/opensslquic-build/quictls/include/openssl" DESTINATION "${work}/prefix/include")
    set(licenses "${work}/prefix/licenses")
    configure_file("${source}/LICENSE" "${licenses}/LICENSE-MsQuic.txt" COPYONLY)
    configure_file("${source}/THIRD-PARTY-NOTICES" "${licenses}/THIRD-PARTY-NOTICES-MsQuic.txt" COPYONLY)
    configure_file("${source}/submodules/quictls/LICENSE.txt" "${licenses}/LICENSE-OpenSSL.txt" COPYONLY)
    file(RENAME "${work}/prefix" "${prefix}")
    file(REMOVE_RECURSE "${work}")
endfunction()

# csrc/cpu/spectral, the parts of spectral_conv: one source is compiled for each instruction set and chosen at run time.
# Here the compiler may fuse products and sums, since no result is compared with a GPU's bits.

include(CheckCXXCompilerFlag)

set(SPECTRAL csrc/cpu/spectral)
target_sources(cpm_core PRIVATE ${SPECTRAL}/checksum.cpp ${SPECTRAL}/dispatch.cpp ${SPECTRAL}/portable.cpp
    ${SPECTRAL}/split.cpp ${SPECTRAL}/weight_gradient.cpp ${SPECTRAL}/wide_ranges.cpp)
# A compiler with other options builds only the portable form.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "^(GNU|Clang|AppleClang)$")
    return()
endif()
set_property(SOURCE ${SPECTRAL}/portable.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(AVX512 -ffp-contract=fast -mavx512f -mfma)
    target_sources(cpm_core PRIVATE ${SPECTRAL}/avx512.cpp ${SPECTRAL}/avx2.cpp)
    set_property(SOURCE ${SPECTRAL}/avx512.cpp APPEND PROPERTY COMPILE_OPTIONS ${AVX512})
    set_property(SOURCE ${SPECTRAL}/avx2.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast -mavx2 -mfma)
    set_property(SOURCE ${SPECTRAL}/dispatch.cpp APPEND PROPERTY COMPILE_DEFINITIONS CPM_SPECTRAL_X86=1)
    check_cxx_compiler_flag(-mavx512bf16 CPM_FAST_HAS_AVX512_BF16)
    if(CPM_FAST_HAS_AVX512_BF16)
        target_sources(cpm_core PRIVATE ${SPECTRAL}/avx512_bf16.cpp)
        set_property(SOURCE ${SPECTRAL}/avx512_bf16.cpp APPEND PROPERTY COMPILE_OPTIONS ${AVX512} -mavx512bf16)
        set_property(SOURCE ${SPECTRAL}/dispatch.cpp APPEND PROPERTY COMPILE_DEFINITIONS CPM_SPECTRAL_BF16=1)
    endif()
endif()

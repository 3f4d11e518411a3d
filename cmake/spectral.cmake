# csrc/cpu/spectral, which spectral_conv is made of: one source compiled for each instruction set, chosen when it runs.
# Here products and sums are fused where the machine can: nothing is compared with a GPU's bits.

set(SPECTRAL csrc/cpu/spectral)
target_sources(cpm_core PRIVATE ${SPECTRAL}/checksum.cpp ${SPECTRAL}/dispatch.cpp ${SPECTRAL}/portable.cpp
    ${SPECTRAL}/split.cpp ${SPECTRAL}/weight_gradient.cpp)
# A compiler with other options builds the portable form alone.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "^(GNU|Clang|AppleClang)$")
    return()
endif()
set_property(SOURCE ${SPECTRAL}/portable.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    target_sources(cpm_core PRIVATE ${SPECTRAL}/avx512.cpp ${SPECTRAL}/avx2.cpp)
    set_property(SOURCE ${SPECTRAL}/avx512.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast -mavx512f -mfma)
    set_property(SOURCE ${SPECTRAL}/avx2.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast -mavx2 -mfma)
    set_property(SOURCE ${SPECTRAL}/dispatch.cpp APPEND PROPERTY COMPILE_DEFINITIONS CPM_SPECTRAL_X86=1)
endif()

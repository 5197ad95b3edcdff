// This instruction set's kernels, as a table for dispatch.cpp.
#include "simd.h"
#include "tasks.h"

#define FOVEA_STRINGIFY(name) #name
#define FOVEA_NAME(name) FOVEA_STRINGIFY(name)

namespace fovea::cpu::FOVEA_ISA {

int64_t tiledScratch(const Problem&, const SequencePlan&);
int64_t decodeScratch(const Problem&, const SequencePlan&);
int64_t standardScratch(const Problem&);
void tiled(const Task&, float*);
void decode(const Task&, float*);
void merge(const Task&, const Partial*, int64_t, float*);
int64_t mergePartsScratch(const Merge&);
void mergeParts(const Merge&, int64_t, int64_t, float*);
void standardScores(const StandardTask&, float*);
void standardSoftmax(const StandardTask&);
void standardOutput(const StandardTask&, float*);
int64_t storeScratch(const RowStore&);
void storeRows(const RowStore&, int64_t, int64_t, float*);

extern const KernelTable table;
const KernelTable table = {FOVEA_NAME(FOVEA_ISA),
                           lanes,
                           multipliesPairs,
                           tiledScratch,
                           decodeScratch,
                           standardScratch,
                           tiled,
                           decode,
                           merge,
                           mergePartsScratch,
                           mergeParts,
                           standardScores,
                           standardSoftmax,
                           standardOutput,
                           storeScratch,
                           storeRows};

}  // namespace fovea::cpu::FOVEA_ISA

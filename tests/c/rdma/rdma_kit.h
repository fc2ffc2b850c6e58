/* rdma_kit.h - pairs of ranks with the RDMA module between them, over fake_verbs.h. */
#ifndef NX_TEST_RDMA_KIT_H
#define NX_TEST_RDMA_KIT_H

#include "fakekit.h"
#include "verbs_kit.h"

/* Of the module's frames. */
enum { FRAME = 24, SLOT = 8192, CREDITS = 32 };

static const nexar_module *module;

static inline int kit_setup(void **state)
{
    module = kit_load(RDMA_MODULE, "nexar_module_v1");
    return kit_verbs(state);
}

static inline struct fake_options kit_options(uint64_t seed)
{
    return (struct fake_options){.module = module,
                                 .seed = seed,
                                 .again = 5,
                                 .memory = 50,
                                 .setting = {{"NEXAR_RDMA_LIBRARY=" RDMA_VERBS}, {"NEXAR_RDMA_LIBRARY=" RDMA_VERBS}}};
}

static inline uint64_t kit_done(const struct fake_pair *pair, uint32_t rank)
{
    return atomic_load(&pair->node[rank].link.done);
}

/* Sends each way, and sees it arrive. */
static inline void kit_works(struct fake_pair *pair, uint64_t number, size_t n)
{
    uint8_t *p = malloc(n + 1);
    uint64_t before[2] = {fake_received(pair, 0), fake_received(pair, 1)};

    assert_non_null(p);
    for (uint32_t rank = 0; rank < 2; rank++)
        assert_int_equal(kit_send(pair, rank, number, p, n, true), NEXAR_OK);
    for (uint32_t rank = 0; rank < 2; rank++) {
        assert_driven(fake_received(pair, rank) > before[rank]);
        kit_expect(pair, rank, number, n);
    }
    free(p);
}

#endif

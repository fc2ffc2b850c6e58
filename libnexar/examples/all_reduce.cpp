// all_reduce.cpp - the same from C++17: a communicator that closes itself, statuses as exceptions, a reduction that
// runs while the rank does something else; each element is checked.
//
//     c++ -std=c++17 all_reduce.cpp $(nexar info --cflags --libs) -o all_reduce
//     nexar run -n 4 -- ./all_reduce
#include <nexar/nexar.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

struct close_comm {
    void operator()(nexar_comm *comm) const
    {
        nexar_comm_close(comm);
    }
};

struct close_op {
    void operator()(nexar_op *op) const
    {
        nexar_op_close(op);
    }
};

using comm_ptr = std::unique_ptr<nexar_comm, close_comm>;
using op_ptr = std::unique_ptr<nexar_op, close_op>;

void check(nexar_status status, const char *what)
{
    if (status != NEXAR_OK)
        throw std::runtime_error(std::string(what) + ": " + nexar_status_name(status) + ": " + nexar_last_error());
}

comm_ptr init()
{
    nexar_comm *comm = nullptr;
    check(nexar_init(nullptr, &comm), "nexar_init");
    return comm_ptr(comm);
}

op_ptr start_sum(nexar_comm *comm, std::vector<std::int64_t> &x)
{
    nexar_op *op = nullptr;
    check(nexar_all_reduce(comm, x.data(), x.data(), x.size(), NEXAR_INT64, NEXAR_SUM, nullptr, &op),
          "nexar_all_reduce");
    return op_ptr(op);
}

int run()
{
    const comm_ptr comm = init();
    const std::int64_t rank = nexar_comm_rank(comm.get());
    const std::int64_t size = nexar_comm_size(comm.get());

    std::vector<std::int64_t> x(10007);
    std::iota(x.begin(), x.end(), rank); // x[i] = rank + i
    const op_ptr op = start_sum(comm.get(), x);
    std::vector<std::int64_t> expected(x.size()); // x belongs to the library until the op is done
    for (std::size_t i = 0; i < expected.size(); i++)
        expected[i] = size * (size - 1) / 2 + size * static_cast<std::int64_t>(i);
    check(nexar_op_wait(op.get(), NEXAR_FOREVER), "nexar_op_wait");

    std::size_t wrong = 0;
    for (std::size_t i = 0; i < x.size(); i++)
        wrong += x[i] != expected[i];
    std::printf("rank %d of %d: %zu elements, %zu wrong\n", static_cast<int>(rank), static_cast<int>(size), x.size(),
                wrong);
    check(nexar_barrier(comm.get(), nullptr, nullptr), "nexar_barrier");
    return wrong != 0;
}

} // namespace

int main()
{
    try {
        return run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}

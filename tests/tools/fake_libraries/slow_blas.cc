// SPDX-License-Identifier: Apache-2.0
//
// A BLAS of one function, right but slow (or wrong, with FAKE_WRONG_RESULT): loaded before the real
// one, its sgemm_ is what libtorch gets.
#include <cstddef>

extern "C" {

void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
            const int* k, const float* alpha, const float* a, const int* lda, const float* b,
            const int* ldb, const float* beta, float* c, const int* ldc) {
  const auto at = [](const float* matrix, int stride, char transpose, int row, int column) {
    if (transpose != 'n' && transpose != 'N') return matrix[std::ptrdiff_t{row} * stride + column];
    return matrix[std::ptrdiff_t{column} * stride + row];
  };
  for (int column = 0; column < *n; ++column) {
    for (int row = 0; row < *m; ++row) {
      float sum = 0;
      for (int i = 0; i < *k; ++i) {
        sum += at(a, *lda, *transpose_a, row, i) * at(b, *ldb, *transpose_b, i, column);
      }
      float& result = c[std::ptrdiff_t{column} * *ldc + row];
      result = *alpha * sum + (*beta == 0 ? 0 : *beta * result);
#if defined(FAKE_WRONG_RESULT)
      if (row == 7 && column == 7) result += 1;
#endif
    }
  }
}

#if defined(FAKE_OPENBLAS)
int openblas_get_parallel() { return 1; }  // Its own threads.
int openblas_get_num_threads() { return 64; }
#endif
}

// Ways into the emulated kernels for a caller from outside; included last.
#pragma once

extern "C" void launch_alone(unsigned grid, const char* scores, long long rows, long long classes,
                             double* out) {
  emulated::launch(grid, distill::BLOCK, [=] { alone(scores, rows, classes, out); });
}

extern "C" void launch_pair(unsigned grid, const char* teacher, const char* student,
                            long long rows, long long classes, double t_0, double t_1,
                            double t_2, double t_3, const long long* against, double* out) {
  emulated::launch(grid, distill::BLOCK, [=] {
    pair(teacher, student, rows, classes, t_0, t_1, t_2, t_3, against, out);
  });
}

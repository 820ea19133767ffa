// Owns how vitest finds and bounds the suites. `unit` needs nothing but Node; `live` starts real sshd, etcd and kube-apiserver.
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** What users import from the package, its examples do, too. */
const alias = { "machinist/testing": fileURLToPath(new URL("src/testing.ts", import.meta.url)) }

export default defineConfig({
  test: {
    projects: [
      {
        resolve: { alias },
        test: {
          name: "unit",
          include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
          setupFiles: ["test/support/seeded.ts"],
          exclude: ["test/live/**", "node_modules/**"],
          testTimeout: 180_000,
          hookTimeout: 60_000
        }
      },
      {
        test: {
          name: "live",
          include: ["test/live/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 900_000,
          fileParallelism: false,
          maxWorkers: 1
        }
      }
    ]
  }
})

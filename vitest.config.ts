// Owns how vitest finds and bounds the suites. `unit` needs nothing but Node; `live` starts real sshd, etcd and kube-apiserver.
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

/** What users import from the package, its examples do, too. */
const alias = { "machinist/testing": fileURLToPath(new URL("src/testing.ts", import.meta.url)) }

/** Take minutes, on one core: begun first, so that all others fill the second one meanwhile. */
const LONGEST = ["test/simulation/seeds.test.ts", "test/testing/thousand.test.ts"]

class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(name))
      return at < 0 ? LONGEST.length : at
    }
    // A stable sort: the others stay as they are.
    return (await super.sort(files)).sort((one, other) => rank(one) - rank(other))
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
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

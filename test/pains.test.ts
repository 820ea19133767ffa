/**
 * Holds: every pain of k0smotron's users that docs/contract.md names ("Known pains") has a test of ours, by name. This
 * table is the map from the one to the other; a test that is renamed or gone is missed here.
 */
import { assert, describe, it } from "@effect/vitest"
import { projectFiles, read } from "./tidy/Tree.ts"

interface Pain {
  readonly pain: string
  /** Numbers of k0smotron's issues. */
  readonly issues: ReadonlyArray<number>
  /** File, and the title of the test in it, as it is written there. */
  readonly held: ReadonlyArray<readonly [file: string, title: string]>
}

const PAINS: ReadonlyArray<Pain> = [
  {
    pain: "dirty hosts returned to the pool",
    issues: [1596],
    held: [
      ["test/quarantine.test.ts", "is given to nobody, tried again seldom, and freed once it is clean"],
      [
        "test/conformance/hosts/cleaning.ts",
        "leftovers are named and keep the host; a greater attempt tries everything again"
      ]
    ]
  },
  {
    pain: "bootstrapped twice",
    issues: [1211, 1494],
    held: [
      [
        "test/actors/machine-crash.test.ts",
        "without one, it takes the writes and lines that the table below is made of"
      ],
      [
        "test/conformance/hosts/killing.ts",
        "a connection lost after every line of a run: the next call attaches, and no step runs twice"
      ],
      ["test/conformance/hosts/running.ts", "two first callers at one time start one run"]
    ]
  },
  {
    pain: "Text file busy",
    issues: [1247],
    held: [
      ["test/domain/bootstrapRun.test.ts", "a URL replaces the binary by renaming, and a failure leaves the old one"],
      ["test/domain/bootstrapRun.test.ts", "again for the same machine is forced, over a stranger's service it fails"]
    ]
  },
  {
    pain: "transient errors shown as terminal",
    issues: [579],
    held: [
      ["test/badInput.test.ts", ", and the machine goes on when it is mended`"],
      ["test/errors.test.ts", "says the retry class that the code has"]
    ]
  },
  {
    pain: "deletion stuck when owner or bootstrap config is gone already",
    issues: [942],
    held: [
      ["test/deletion.test.ts", " is gone first"],
      ["test/deletion.test.ts", "everything, in any order, with the RemoteMachines somewhere among it"]
    ]
  },
  {
    pain: "deletion stuck when the SSH key is gone already",
    issues: [943],
    held: [
      [
        "test/deletion.test.ts",
        "without the key (its finalizer was taken away by hand): given up on in bounded time, and said loudly"
      ],
      [
        "test/deletion.test.ts",
        "of the namespace: hosts are cleaned before key and objects are let go, and the namespace goes"
      ]
    ]
  },
  {
    pain: "reservation lost by move",
    issues: [1625],
    held: [
      ["test/actors/machine-crash.test.ts", "carried on by: "],
      [
        "test/actors/allocator.test.ts",
        "a host whose claim no machine carries is held as Orphaned, and freed only by hand"
      ]
    ]
  },
  {
    pain: "stale Node or providerID of the host's former tenant",
    issues: [1078, 1309],
    held: [
      [
        "test/nodes.test.ts",
        "the Node of the host's former tenant goes before the new one registers, also one of the host's own name"
      ]
    ]
  },
  {
    pain: "useSudo with a user who is not root, and quoting",
    issues: [964, 954],
    held: [
      ["test/hosts/LiveHostRuns.test.ts", "with useSudo the whole of it runs under sudo -n"],
      [
        "test/conformance/hosts/refusing.ts",
        "sudo makes an ordinary user root; without it, or refused by it, nothing is touched"
      ],
      ["test/domain/cloudConfig.test.ts", "any content and any command come back as they were"]
    ]
  },
  {
    pain: '"check the bootstrap logs" as the only message',
    issues: [],
    held: [
      [
        "test/conformance/hosts/running.ts",
        "a failed step ends the run with its code and last words; only a greater attempt runs it again"
      ],
      ["test/badInput.test.ts", 'name: "a command that fails"']
    ]
  },
  {
    pain: "no Events",
    issues: [],
    held: [
      ["test/story/stories.test.ts", "suspect-host"],
      ["test/badInput.test.ts", "an Event with reason "]
    ]
  },
  {
    pain: "conditions decaying to Unknown",
    issues: [1495],
    held: [
      [
        "test/domain/conditions.test.ts",
        "keeps lastTransitionTime while the status stays, and moves it when the status does"
      ],
      [
        "test/actors/bootstrap.test.ts",
        "writes its status again when someone empties it, and leaves foreign conditions alone"
      ]
    ]
  },
  {
    pain: "host key change",
    issues: [1421],
    held: [
      [
        "test/hostKeys.test.ts",
        "binds the host's next tenant: another one gets nothing, until a person takes the pin away"
      ],
      [
        "test/ssh/hostKeys.test.ts",
        "another key than the pinned one: hostKeyChanged with both fingerprints, and nothing is offered"
      ]
    ]
  },
  {
    pain: "five hung hosts block everyone",
    issues: [],
    held: [
      [
        "test/live/e2e-faults.test.ts",
        "a machine whose step hangs is deleted, daemon and all, and nobody waits for it"
      ],
      ["test/ssh/sessionLimits.test.ts", "a blackholed jump host delays nobody who does not go through it"]
    ]
  },
  {
    pain: "etcd members left behind",
    issues: [768, 991],
    held: [
      [
        "test/domain/cleaning.test.ts",
        "a member that can't leave holds everything up, and verification names it; given up on after a few tries"
      ],
      [
        "test/domain/cleaning.test.ts",
        "controller under systemd: leave, stop, reset, in the given directories; the binary goes last"
      ]
    ]
  },
  {
    pain: "labels of the host not on the Node",
    issues: [1288],
    held: [
      [
        "test/actors/allocator.test.ts",
        "claims: four writes, both sides carry the id, the machine gets the host's fields, labels and annotations"
      ],
      [
        "test/nodes.test.ts",
        "labels of the host reach its Node, as far as Cluster API takes them there from the Machine"
      ]
    ]
  },
  {
    pain: "token lifetime fixed",
    issues: [1573],
    held: [
      [
        "test/actors/bootstrap.test.ts",
        "renews the token in place while the Machine has not joined, and brings it back when it was collected"
      ],
      ["test/actors/controllerBootstrap.test.ts", "a lifetime of tokens that is none, and a MachinePool as owner"]
    ]
  },
  {
    pain: "worker SysV cleanup stops the wrong service",
    issues: [],
    held: [["test/domain/cleaning.test.ts", "worker under SysV: its own service, not the controller's"]]
  },
  {
    pain: "kubelet root dir left",
    issues: [1114],
    held: [
      [
        "test/domain/cleaning.test.ts",
        "controller under systemd: leave, stop, reset, in the given directories; the binary goes last"
      ],
      ["test/domain/cleaning.test.ts", "token, sentinel and our files; never the host's own, nor what was appended to"]
    ]
  },
  {
    pain: "a CRD too large to apply",
    issues: [431],
    held: [["test/api/crds.test.ts", "assert.isBelow(JSON.stringify(crd).length, MAX_CRD_BYTES)"]]
  }
]

const files = new Set(projectFiles().map(({ path }) => path))

/** Not the words of another file that merely speak of it. */
const isThere = (file: string, title: string): boolean => files.has(file) && read(file).text.includes(title)

describe("known pains of k0smotron's users", () => {
  for (const { pain, issues, held } of PAINS)
    it(`${pain}${issues.length === 0 ? "" : ` (${issues.map((issue) => `#${issue}`).join(", ")})`}`, () => {
      assert.isNotEmpty(held)
      for (const [file, title] of held) assert.isTrue(isThere(file, title), `${file} has no test "${title}"`)
    })

  it("a test that is gone would be missed", () => {
    assert.isFalse(isThere("test/domain/cleaning.test.ts", "no such test"))
    assert.isFalse(isThere("test/nowhere.test.ts", ""))
  })

  it("every issue that the contract names is here, and no other", () => {
    const section = read("docs/contract.md").text.split("Known pains")[1] ?? ""
    const named = new Set([...section.matchAll(/#(\d+)/g)].map((match) => Number(match[1])))
    const ours = new Set(PAINS.flatMap(({ issues }) => issues))
    assert.deepStrictEqual([...ours].sort(), [...named].sort())
  })
})

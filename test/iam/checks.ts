// What is asked of every role whose code has run: allowed enough, and nothing more.
import { describe, expect, it } from "vitest";
import type { RoleAccount } from "./account.ts";
import { applies, type Call, isAllowed, listOf, type Statement } from "./evaluate.ts";
import { arnOf, rolesOf } from "./roles.ts";
import { SERVICE_ROWS } from "./service-roles.ts";

/** Names do not matter for the list of what there is to test. */
const NAMES = {
  JobLogs: "jobs",
  Notifications: arnOf("sns", "notifications"),
  StorageArtefacts: "artefacts",
  StorageData: "data",
  StorageQuarantine: "quarantine",
};
/** With the roles and the statements that the default configuration does not have. */
const roles = [
  ...new Map([
    ...rolesOf(NAMES, { image: { source: "codebuild" }, schedule: { dataset: "reference" } }),
    ...rolesOf(NAMES, {
      training: { trainingPlanArn: arnOf("sagemaker", "training-plan/plan"), planInstanceType: "p5en.48xlarge" },
    }),
  ]).values(),
];

/** Those with statements of their own: EC2's instances have AWS's managed policy alone. */
export const rolesWithStatements = roles.filter(({ statements }) => statements.length > 0);

const rowsOf = (role: string) => SERVICE_ROWS.filter((row) => row.role.test(role));

/** Rows of the services' pages that no statement grants. */
const missingRows = (role: string, statements: readonly Statement[]) =>
  rowsOf(role)
    .filter(
      (row) =>
        !statements.some(
          ({ Action, Resource }) =>
            listOf(Action).some((action) => action.toLowerCase() === row.action.toLowerCase()) &&
            listOf(Resource).some((resource) => row.resource.test(resource)),
        ),
    )
    .map(({ action, resource, page }) => `${action} on ${resource} (${page})`);

/**
 * @param of - the account, once the code has run; undefined for roles that no code of this project has
 * @param which - the roles to ask about
 */
export function checkRoles(of: () => RoleAccount | undefined, which: RegExp): void {
  const callsBy = (name: string): Call[] => of()?.callsBy(name) ?? [];
  const statementsOf = (name: string) =>
    of()?.role(name).statements ?? rolesWithStatements.find((each) => each.name === name)!.statements;
  const deniedCalls = (name: string, statements: readonly Statement[]) =>
    callsBy(name)
      .filter((call) => !isAllowed(statements, call))
      .map(({ action, resource }) => `${action} on ${resource}`);

  describe.each(
    rolesWithStatements
      .filter(({ name }) => which.test(name))
      .map((role) => [role.name.replace(/[0-9A-F]{8}$/, ""), role] as const),
  )("%s", (_title, { name, statements: listed }) => {
    it("is allowed all that its code and AWS's services do with it", () => {
      expect(of()?.denied ?? []).toEqual([]);
      expect(deniedCalls(name, statementsOf(name))).toEqual([]);
      expect(missingRows(name, statementsOf(name))).toEqual([]);
    });

    it.each(listed.map(({ Action }, index) => [index, listOf(Action).join(", ")] as const))(
      "cannot do without statement %i: %s",
      (index) => {
        const rest = statementsOf(name).filter((_, position) => position !== index);
        expect([...deniedCalls(name, rest), ...missingRows(name, rest)]).not.toEqual([]);
      },
    );

    it("cannot do without any of the resources that a statement names", () => {
      const statements = statementsOf(name);
      const idle = statements.flatMap((statement, index) =>
        listOf(statement.Resource).flatMap((one, _, all) => {
          if (all.length === 1) return [];
          const narrower = { ...statement, Resource: all.filter((other) => other !== one) };
          const rest = statements.with(index, narrower);
          return deniedCalls(name, rest).length + missingRows(name, rest).length > 0
            ? []
            : [`${statement.Action} on ${one}`];
        }),
      );
      expect(idle).toEqual([]);
    });

    it("has no action on no resource that neither its code nor a service uses", () => {
      const idle = statementsOf(name).flatMap((statement) =>
        listOf(statement.Action).flatMap((Action) =>
          listOf(statement.Resource).flatMap((Resource) => {
            const one = { ...statement, Action, Resource };
            const isUsed =
              callsBy(name).some((call) => applies(one, call)) ||
              rowsOf(name).some(
                (row) => row.action.toLowerCase() === Action.toLowerCase() && row.resource.test(Resource),
              );
            return isUsed ? [] : [`${Action} on ${Resource}`];
          }),
        ),
      );
      expect(idle).toEqual([]);
    });
  });
}

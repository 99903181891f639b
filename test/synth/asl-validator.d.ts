// The package has types, and an export map that hides them.
declare module "asl-validator" {
  export default function validate(definition: object): { isValid: boolean; errors: object[] };
}

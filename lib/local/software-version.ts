import { softwareVersionOf } from "../contracts/software-version.ts";
import { checkout } from "./home.ts";

/** Of this checkout: what is installed is run. */
export const softwareVersion = (root = checkout): string => softwareVersionOf(root);

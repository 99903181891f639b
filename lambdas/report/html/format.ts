// Numbers as a reader sees them. null is "not measured": the words come from one place.
import { NOT_MEASURED } from "../rows.ts";

type Measured = number | null | undefined;

const shown = (value: Measured, as: (value: number) => string): string =>
  value === null || value === undefined || !Number.isFinite(value) ? NOT_MEASURED : as(value);

const grouped = (value: number, decimals: number): string =>
  value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

/** Three significant digits, whole from 100 on: 0.0123, 5.70, 1,234. */
export const significant = (value: Measured): string =>
  shown(value, (x) => {
    if (x === 0) return "0";
    if (Math.abs(x) >= 99.95) return grouped(x, 0);
    return Math.abs(x) < 1e-4 ? x.toExponential(1) : x.toPrecision(3);
  });

/** Dice and other scores from 0 to 1: 0.887. */
export const dice = (value: Measured): string => shown(value, (x) => x.toFixed(3));

export const percent = (value: Measured): string => shown(value, (x) => `${x.toFixed(0)} %`);

export const times = (value: Measured): string => shown(value, (x) => `${x.toFixed(2)}\u00d7`);

/** Dollars and cents; what is less than a cent keeps two significant digits. */
export const usd = (value: Measured): string =>
  shown(value, (x) => {
    if (x === 0) return "$0.00";
    return x < 0.01
      ? `$${Number(x.toPrecision(2)).toLocaleString("en-US", { maximumFractionDigits: 8 })}`
      : `$${grouped(x, 2)}`;
  });

/** Minutes alone: 0.42, 4.3, 32.2, 1,234. */
export const minutes = (seconds: Measured): string =>
  shown(seconds, (x) => {
    if (x < 60) return (x / 60).toFixed(2);
    return grouped(x / 60, x < 6000 ? 1 : 0);
  });

/** 0.4 s, 42 s, 12.3 min, 3 h 05 min. */
export const duration = (seconds: Measured): string =>
  shown(seconds, (x) => {
    if (x < 10) return `${x.toFixed(1)} s`;
    if (x < 90) return `${x.toFixed(0)} s`;
    if (x < 5400) return `${(x / 60).toFixed(1)} min`;
    const whole = Math.round(x / 60);
    return `${grouped(Math.floor(whole / 60), 0)} h ${String(whole % 60).padStart(2, "0")} min`;
  });

/** Milliseconds of two percentiles: 120 / 180. */
export const percentiles = (p50Ms: Measured, p95Ms: Measured): string =>
  p50Ms === null || p50Ms === undefined || p95Ms === null || p95Ms === undefined
    ? NOT_MEASURED
    : `${significant(p50Ms)} / ${significant(p95Ms)}`;

export const memory = (mebibytes: Measured): string =>
  shown(mebibytes, (x) => (x < 1024 ? `${x.toFixed(0)} MiB` : `${(x / 1024).toFixed(1)} GiB`));

export const count = (value: number, noun: string): string => `${grouped(value, 0)} ${noun}${value === 1 ? "" : "s"}`;

/** 2026-03-01 09:30 UTC */
export const moment = (iso: string): string => `${new Date(iso).toISOString().slice(0, 16).replace("T", " ")} UTC`;

// Written by `voxelburst cost --refresh-prices`: USD an hour, by instance type.
export const PRICE_TABLE: {
  readonly region: string;
  readonly date: string;
  readonly ec2: Readonly<Record<string, number>>;
  readonly sageMakerTraining: Readonly<Record<string, number>>;
} = {
  region: "us-east-1",
  date: "2026-07",
  ec2: {
    "g5.48xlarge": 16.288,
    "g5.4xlarge": 1.624,
    "g6e.48xlarge": 30.13,
    "g6e.4xlarge": 3.004,
    "g6e.xlarge": 1.861,
    "m5d.4xlarge": 0.904,
    "m6id.4xlarge": 0.9492,
    "p4d.24xlarge": 21.96,
    "p4de.24xlarge": 27.45,
    "p5.48xlarge": 55.04,
    "p5.4xlarge": 6.88,
    "p5en.48xlarge": 63.3,
    "p6-b200.48xlarge": 113.93,
    "r5d.4xlarge": 1.152,
    "r6id.4xlarge": 1.2096,
  },
  sageMakerTraining: {},
};

// The scorer's arithmetic: a logistic regression over standardized features, with the weights of a file.

/** What the file holds. */
export interface RiskModel {
  readonly version: string;
  readonly bias: number;
  /** A feature counts as `weight * (value - mean) / deviation`. */
  readonly features: readonly {
    readonly name: string;
    readonly mean: number;
    readonly deviation: number;
    readonly weight: number;
  }[];
}

/** Risk from 0 to 1, and what each feature added to the log-odds, in the model's order. */
export function scoreRisk(model: RiskModel, values: readonly number[]): { risk: number; contributions: number[] } {
  const contributions = model.features.map(
    ({ mean, deviation, weight }, i) => (weight * ((values[i] ?? mean) - mean)) / deviation,
  );
  const logOdds = contributions.reduce((sum, one) => sum + one, model.bias);
  return { risk: 1 / (1 + Math.exp(-logOdds)), contributions };
}

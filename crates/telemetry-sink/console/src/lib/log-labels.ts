// Stream labels of the sink's log store.

export const SERVICE_LABEL = "service_name";
export const LEVEL_LABEL = "level";

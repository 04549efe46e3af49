// Which screen a path shows.

import { Empty, Page } from "./components/basics";
import { Shell } from "./components/Shell";
import { match } from "./lib/routes";
import { usePlace } from "./router";
import { AlertsScreen } from "./routes/alerts";
import { BatchScreen } from "./routes/batch";
import { DashboardScreen } from "./routes/dashboard";
import { DashboardsScreen } from "./routes/dashboards";
import { ExploreScreen } from "./routes/explore";
import { FleetScreen } from "./routes/fleet";
import { JobScreen } from "./routes/job";
import { DeadLettersScreen, JobSearchScreen } from "./routes/job-search";
import { JobsScreen } from "./routes/jobs";
import { LimitsScreen } from "./routes/limits";
import { LogsScreen } from "./routes/logs";
import { MachineScreen } from "./routes/machine";
import { MailScreen } from "./routes/mail";
import { MapScreen } from "./routes/map";
import { SchedulesScreen } from "./routes/schedules";
import { ShopScreen } from "./routes/shop";
import { StorageScreen } from "./routes/storage";
import { TraceScreen } from "./routes/trace";
import { TracesScreen } from "./routes/traces";
import { WorkflowScreen } from "./routes/workflow";

export function App() {
  const { path } = usePlace();
  return (
    <Shell path={path}>
      <Screen path={path} />
    </Shell>
  );
}

function Screen({ path }: { path: string }) {
  const route = match(path);
  switch (route.name) {
    case "fleet":
      return <FleetScreen />;
    case "traces":
      return <TracesScreen />;
    case "trace":
      return <TraceScreen id={route.id} />;
    case "logs":
      return <LogsScreen />;
    case "explore":
      return <ExploreScreen />;
    case "alerts":
      return <AlertsScreen />;
    case "dashboards":
      return <DashboardsScreen />;
    case "dashboard":
      return <DashboardScreen key={route.id} id={route.id} />;
    case "map":
      return <MapScreen />;
    case "storage":
      return <StorageScreen />;
    case "machine":
      return <MachineScreen />;
    case "jobs":
      return <JobsScreen />;
    case "job-search":
      return <JobSearchScreen />;
    case "dead-letters":
      return <DeadLettersScreen />;
    case "schedules":
      return <SchedulesScreen />;
    case "limits":
      return <LimitsScreen />;
    case "job":
      return <JobScreen id={route.id} />;
    case "workflow":
      return <WorkflowScreen id={route.id} />;
    case "batch":
      return <BatchScreen id={route.id} />;
    case "mail":
      return <MailScreen id={route.id} />;
    case "shop":
      return <ShopScreen />;
    case "unknown":
      return (
        <Page title="Not found">
          <Empty icon="search" title="There is no screen at this address">
            Go to the <a href="/">fleet overview</a>, or search for a request id above.
          </Empty>
        </Page>
      );
  }
}

/** The dashboard about one job, which the command line links to: its address, and the variable for the job. */
export const oneJobDashboard = { uid: 'avatar-one-job', variable: 'job_id' } as const

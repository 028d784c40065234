"""The log as FHIR R4 audit events (IHE ITI-81, BALP): resources, codes, searches, capability."""
